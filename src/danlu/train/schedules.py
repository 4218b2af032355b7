"""How the learning rate rises and falls: pure functions of the progress made.

warm-up (from zero) -> hold (the full rate) -> decay (to the floor), which ends with the work or earlier.
"""

import math
from collections.abc import Callable
from typing import Literal

ScheduleName = Literal["cosine", "linear", "polynomial", "inverse_sqrt", "wsd", "constant"]

# Share of the decay that is done (0 to 1), and an exponent -> share of the full rate (1 to 0).
DECAYS: dict[ScheduleName, Callable[[float, float], float]] = {
    "cosine": lambda done, _: 0.5 + 0.5 * math.cos(math.pi * done),
    "linear": lambda done, _: 1.0 - done,
    "polynomial": lambda done, power: (1.0 - done) ** power,
    "wsd": lambda done, _: 1.0 - math.sqrt(done),  # Hägele et al. 2024
    "constant": lambda done, _: 1.0,
}
STABLE = 0.8  # of the work after warm-up: what "wsd" holds, where nothing else is said


def factor(
    name: ScheduleName,
    done: float,
    warmup: float,
    floor: float = 0.0,
    *,
    hold: float | None = None,
    until: float = 1.0,
    power: float = 1.0,
) -> float:
    """What to multiply the learning rate by.

    done: share of all the work finished before this step, 0 to 1. warmup: share of the work over which the rate rises
    from zero. hold: share of the work for which it stays; None: the schedule's own. until: share of the work at which
    the decay has ended. floor: the lowest share of the rate after warm-up. power: of "polynomial".

    "inverse_sqrt" falls as 1 / sqrt(step) from where warm-up and hold end (Vaswani et al. 2017; with hold alone, T5).
    """
    if done < warmup:
        return done / warmup
    if hold is None:
        hold = STABLE * (1.0 - warmup) if name == "wsd" else 0.0
    start = warmup + hold
    if done <= start:
        return 1.0
    if name == "inverse_sqrt":
        return max(floor, math.sqrt(start / done))
    return floor + (1.0 - floor) * DECAYS[name](min(1.0, (done - start) / max(1e-12, until - start)), power)
