"""How far a run has come: everything about it that is neither weights nor windows."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Ending = Literal["", "done", "early", "interrupted"]


@dataclass
class Progress:
    """Counters of a run; in the checkpoint as they stand."""

    step: int = 0  # updates tried, skipped ones included
    tokens: int = 0  # read by the model, padding not counted
    offset: int = 0  # batches left out by going back
    without_targets: int = 0  # batches that asked for nothing
    micro: int | None = None  # rows in one forward pass, once memory has run out
    elapsed: float = 0.0  # seconds of training
    loss: float | None = None  # of the last step
    best_step: int = 0
    best_loss: float | None = None  # of an evaluation
    evaluated: int = 0  # the step of the last evaluation
    waiting: int = 0  # evaluations since the best
    ended: Ending = ""

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, data: dict[str, Any]) -> "Progress":
        return cls(**data)
