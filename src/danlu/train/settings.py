"""Everything about a training run that is not its model and not its data."""

from typing import Literal, Self

from pydantic import Field, model_validator

from danlu.settings import Settings
from danlu.train.guard import GuardSettings
from danlu.train.optimizers import OptimizerName
from danlu.train.schedules import ScheduleName

Precision = Literal["auto", "bf16", "float32"]


class TrainSettings(Settings):
    """How long, how fast, how exactly, and what is kept.

    At most one of steps, epochs and minutes says how long; without any, one epoch. A step is one update of the weights,
    taken over `batch` x `accumulate` rows.
    """

    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0)

    batch: int = Field(32, ge=1)  # rows the loader gives at once
    accumulate: int = Field(1, ge=1)  # such batches in one step
    micro: int | None = Field(
        None, ge=1
    )  # rows in one forward pass; None: the whole batch. Changes memory, not the sums

    lr: float | None = Field(None, gt=0)  # None: what suits the optimiser and the width of the model
    optimizer: OptimizerName = "adamw"
    weight_decay: float = Field(0.1, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    momentum: float = Field(0.95, ge=0, lt=1)  # of Muon
    schedule: ScheduleName = "cosine"
    warmup: float = Field(0.05, ge=0)  # below 1 a share of the work, from 1 on a number of steps
    floor: float = Field(0.0, ge=0, le=1)  # the lowest share of the rate after warm-up
    clip: float | None = Field(1.0, gt=0)  # the longest gradient; None: as long as it is
    guard: GuardSettings = GuardSettings()

    precision: Precision = "auto"  # auto: bf16 where the processor multiplies it natively
    compile: bool = False
    recompute: bool = False  # a block's inner values are computed again instead of kept: less memory, a third more work

    evaluate_every: int | None = Field(None, ge=1)  # steps; None: ten times a run
    patience: int | None = Field(None, ge=1)  # evaluations without a better loss before stopping early
    best: bool = True  # end with the weights of the best evaluation, not of the last step
    save_every: int | None = Field(None, ge=1)  # steps; None: ten times a run, at least every 1,000
    save_minutes: float = Field(10.0, gt=0)  # and never less often than this
    keep: int = Field(2, ge=2)  # newest checkpoints kept; one or two older ones stay for the guard to go back to
    log_every: int = Field(1, ge=1)
    tensorboard: bool = False

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if sum(length is not None for length in (self.steps, self.epochs, self.minutes)) > 1:
            raise ValueError("give one of steps, epochs and minutes")
        return self
