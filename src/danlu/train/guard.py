"""Numerical accidents: what to do with a step whose loss or gradient is out of the ordinary.

A step without a finite loss and gradient changes nothing. Nor does one whose loss or gradient norm stands more than six
standard deviations above the last 128 (as OLMo-core's SkipStepOptimizer does). When that happens to the loss again and
again, training goes back and leaves out the data around the accident (PaLM, section 5.1). Every decision is a function
of what `state` holds, and `state` is in the checkpoint: a resumed run decides the same.
"""

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import Field

from danlu.settings import Settings

Action = Literal["go", "skip", "rollback"]


class GuardSettings(Settings):
    """When a step is an accident, and when a run has to go back."""

    window: int = Field(
        128, ge=2
    )  # steps that say what is ordinary; until they are there, only the finite is asked for
    sigmas: float = Field(6.0, gt=0)  # standard deviations above the window's mean that make an accident
    row: int = Field(3, ge=1)  # accidents of the loss in a row before going back
    high: float = Field(2.0, gt=1)  # times the window's median: a loss that high ...
    stretch: int = Field(20, ge=1)  # ... for so many steps in a row also makes it go back
    back: int = Field(100, ge=1)  # steps to go back, at least
    jump: int = Field(100, ge=0)  # batches after the accident that are left out, besides those gone back over
    rollbacks: int = Field(3, ge=0)  # then it is no accident: stop


@dataclass(frozen=True)
class Verdict:
    action: Action
    reason: str = ""


@dataclass
class GuardState:
    """All that a decision depends on."""

    losses: deque[float] = field(default_factory=deque)
    norms: deque[float] = field(default_factory=deque)
    row: int = 0
    high: int = 0
    skipped: int = 0
    rollbacks: int = 0

    def plain(self) -> dict[str, Any]:
        return asdict(self) | {"losses": list(self.losses), "norms": list(self.norms)}

    @classmethod
    def read(cls, data: dict[str, Any]) -> "GuardState":
        return cls(**(data | {"losses": deque(data["losses"]), "norms": deque(data["norms"])}))


class Guard:
    """Judges each step before the weights change."""

    def __init__(self, settings: GuardSettings):
        self.settings = settings
        self.state = GuardState()

    def judge(self, loss: float, norm: float) -> Verdict:
        """What to do with a step of this loss and gradient norm; remembers them."""
        state, settings = self.state, self.settings
        finite = math.isfinite(loss) and math.isfinite(norm)
        full = len(state.losses) == settings.window
        strange_loss = not finite or (full and self._stands_out(loss, state.losses))
        strange_norm = full and self._stands_out(norm, state.norms)
        too_high = finite and full and loss > settings.high * sorted(state.losses)[settings.window // 2]
        if finite:
            _push(state.losses, loss, settings.window)
            _push(state.norms, norm, settings.window)
        # A long gradient under an ordinary loss is skipped, too, but no reason to go back: it may be the new ordinary.
        state.row = state.row + 1 if strange_loss else 0
        state.high = state.high + 1 if too_high else 0
        if state.row >= settings.row:
            return Verdict("rollback", f"{state.row} accidents in a row")
        if state.high >= settings.stretch:
            return Verdict("rollback", f"loss above {settings.high:g} x median for {state.high} steps")
        if strange_loss or strange_norm:
            state.skipped += 1
            return Verdict("skip", "not finite" if not finite else "loss" if strange_loss else "gradient")
        return Verdict("go")

    def went_back(self, counted: GuardState) -> None:
        """The state is an earlier checkpoint's now; what was counted since is not forgotten."""
        self.state.skipped, self.state.rollbacks = counted.skipped, counted.rollbacks + 1
        self.state.row = self.state.high = 0

    def _stands_out(self, value: float, window: deque[float]) -> bool:
        mean = math.fsum(window) / len(window)
        deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in window) / len(window))
        return value > mean + self.settings.sigmas * deviation


def _push(window: deque[float], value: float, length: int) -> None:
    window.append(value)
    while len(window) > length:
        window.popleft()
