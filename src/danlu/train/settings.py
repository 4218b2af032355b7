"""Everything about a training run that is not its model and not its data."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from danlu.errors import Both
from danlu.settings import Settings
from danlu.train.guard import GuardSettings
from danlu.train.optimizers import OptimizerName
from danlu.train.schedules import ScheduleName


def _lengths(value: Any) -> Any:
    """`64:0.5,128:0.25` means rows of 64 tokens for half of the work, then of 128 for a quarter."""
    return dict(part.split(":", 1) for part in value.split(",")) if isinstance(value, str) and ":" in value else value


Precision = Literal["auto", "bf16", "float32"]
Decay = Annotated[float, Field(ge=0)] | Literal["rate"]
Lengths = Annotated[dict[int, float], BeforeValidator(_lengths)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]


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

    first_batch: int | None = Field(None, ge=1)  # rows of the first batch, growing evenly to `batch` (GPT-3)
    ramp: float = Field(0.05, gt=0)  # over so much: below 1 a share of the work, from 1 on a number of batches
    lengths: Lengths = Field(default_factory=dict)  # row length: share of the work, before the full length; 128:0.9

    lr: float | None = Field(None, gt=0)  # None: what suits the optimiser and the width of the model
    optimizer: OptimizerName = "adamw"
    layer_decay: float = Field(1.0, gt=0, le=1)  # each layer's rate is this times that of the layer above
    unfreeze: float = Field(0.0, ge=0)  # how long until all layers train, from the top down; as `warmup` counts
    weight_decay: Decay = 0.1  # "rate": as large as the rate itself, of Adafactor (PaLM)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    momentum: float = Field(0.95, ge=0, lt=1)  # of Muon
    factored: bool = True  # of Adafactor: a row and a column for each matrix, not every square
    schedule: ScheduleName = "cosine"
    warmup: float = Field(0.05, ge=0)  # below 1 a share of the work, from 1 on a number of steps
    hold: float | None = Field(None, ge=0)  # the same, at the full rate; None: the schedule's own
    until: float = Field(1.0, gt=0, le=1)  # the share of the work at which the decay has ended
    floor: float = Field(0.0, ge=0, le=1)  # the lowest share of the rate after warm-up
    power: float = Field(1.0, gt=0)  # of the polynomial schedule
    clip: float | None = Field(1.0, gt=0)  # the longest gradient; None: as long as it is
    guard: GuardSettings = GuardSettings()

    threads: int | None = Field(None, ge=1)  # processor cores that a step is spread over; None: all
    precision: Precision = "auto"  # auto: bf16 where the processor multiplies it natively
    compile: bool = False
    processes: int | None = Field(None, ge=1)  # None: one for each GPU, or one; torchrun's number comes first
    sharded: bool = False  # processes share weights, gradients and the optimiser's memory out (FSDP2), not copy them
    recompute: bool = False  # a block's inner values are computed again instead of kept: less memory, a third more work

    evaluate_every: int | None = Field(None, ge=1)  # steps; None: ten times a run
    patience: int | None = Field(None, ge=1)  # evaluations without a better loss before stopping early
    average: Share | Literal["even"] | None = None  # of weights on the way: this share stays at a step; even: all alike
    average_from: float = Field(0.0, ge=0)  # when the average begins; as `warmup` counts
    best: bool = True  # end with the weights of the best evaluation, not of the last step
    save_every: int | None = Field(None, ge=1)  # steps; None: ten times a run, at least every 1,000
    save_minutes: float = Field(10.0, gt=0)  # and never less often than this
    keep: int = Field(2, ge=2)  # newest checkpoints kept; one or two older ones stay for the guard to go back to
    keep_finished: int = Field(1, ge=0)  # of a finished run, so that it can be made longer
    log_every: int = Field(1, ge=1)
    tensorboard: bool = False

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if sum(length is not None for length in (self.steps, self.epochs, self.minutes)) > 1:
            raise ValueError(Both("one of steps, epochs and minutes", "steps、epochs、minutes 三者之一"))
        return self

    @model_validator(mode="after")
    def _one_course(self) -> Self:
        if self.weight_decay == "rate" and self.optimizer != "adafactor":
            raise ValueError("weight_decay=rate is Adafactor's")
        if self.schedule == "inverse_sqrt" and not (self.warmup or self.hold):
            raise ValueError("inverse_sqrt falls from where warmup or hold end: give one")
        if self.minutes is not None and (self.lengths or (self.first_batch and self.ramp < 1)):
            raise ValueError("a share of train.minutes is no number of steps: lengths and ramp need steps or epochs")
        if sum(self.lengths.values()) >= 1 or any(length < 1 or share <= 0 for length, share in self.lengths.items()):
            raise ValueError("lengths: shares of the work above 0 that leave some for the full length")
        return self
