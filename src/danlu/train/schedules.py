"""How the learning rate rises and falls: pure functions of the progress made."""

import math
from collections.abc import Callable
from typing import Literal

ScheduleName = Literal["cosine", "linear", "wsd", "constant"]

# Share of the work after warm-up (0 to 1) -> share of the full rate (1 to 0).
DECAYS: dict[ScheduleName, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 + 0.5 * math.cos(math.pi * done),
    "linear": lambda done: 1.0 - done,
    "wsd": lambda done: 1.0 if done <= 0.8 else 1.0 - math.sqrt((done - 0.8) / 0.2),  # Hägele et al. 2024: 1 - sqrt
    "constant": lambda done: 1.0,
}


def factor(name: ScheduleName, done: float, warmup: float, floor: float = 0.0) -> float:
    """What to multiply the learning rate by.

    done: share of all the work finished before this step, 0 to 1. warmup: share of the work over which the rate rises
    from zero. floor: the lowest share of the rate after warm-up.
    """
    if done < warmup:
        return done / warmup
    after = min(1.0, (done - warmup) / max(1e-12, 1.0 - warmup))
    return floor + (1.0 - floor) * DECAYS[name](after)
