"""What a run takes: what an estimate comes to."""

from dataclasses import dataclass

from danlu.recipes.estimating.arithmetic import Memory


@dataclass(frozen=True)
class Needs:
    """Bytes of one device by part, bytes on the disk, and seconds of training."""

    parameters: int
    memory: Memory
    disk: int
    steps: int
    step: float
    seconds: float
    share_of_peak: float | None = None  # model operations a second, of what the machine could do
