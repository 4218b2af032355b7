"""Training by a prompt, as the verbs do it: what trains, for how long, and what is left of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field
from torch import Tensor

from danlu.adapt import Adapt, Addition, Part, trained
from danlu.adapt.changes import PromptTuning
from danlu.checkpoint import Checkpoint
from danlu.prompt.prompter import Prompter
from danlu.prompt.scorers import scorer_for
from danlu.prompt.search.ground import few
from danlu.prompt.search.ledger import Ledger
from danlu.prompt.spec import PromptSpec
from danlu.prompt.tuning import VECTORS, tune, write_vectors
from danlu.recipes.finetuning.defaults import RATE, WIDTH, width_of
from danlu.recipes.prompting.choosing import Inquiry
from danlu.recipes.prompting.opening import open_scorer
from danlu.recipes.prompting.planning import LOOKS, Plan, brief_from, stands_on
from danlu.recipes.prompting.stage import Prompt
from danlu.recipes.runs.call import Stopped
from danlu.recipes.runs.folder import PROMPT
from danlu.recipes.starting.adapting import rates
from danlu.recipes.starting.start import find_device
from danlu.settings import Data
from danlu.tasks.task import Row
from danlu.train.hardware import compute_precision
from danlu.train.settings import TrainSettings
from danlu.voice import Voice

TRAIN: Data = {
    "batch": 16, "schedule": "linear", "warmup": 0.1, "weight_decay": 0.01, "betas": [0.9, 0.999], "keep_finished": 0,
    "processes": 1,
}  # fmt: skip
TESTED = 0.25  # of the rows, where no file is for testing
STEPS, ROWS = (200, 1000), 20_000  # of a training: within these, and about so many rows


@dataclass(frozen=True)
class Tuned:
    """What training by a prompt left in a folder. trains: how many numbers it trained; bytes: of what has to be kept
    beside the model it began with."""

    folder: Path
    prompter: Prompter
    trains: int
    bytes: int
    seconds: float


class Tuning(Prompt):
    """What training by a prompt can be told, beside what `danlu prompt` can.

    adapt: what trains of the model; nothing of it where not given, and then soft vectors do, `vectors` of them before
    the text if the prompt has none. few: rows of each class to learn from, and as many to choose by; all where not
    given.
    """

    defaults: ClassVar[Data] = {"train": TRAIN, "data": {"tested": TESTED}}
    adapt: Adapt | None = None
    vectors: int = Field(8, ge=1, le=256)
    few: int | None = Field(None, ge=1)
    train: TrainSettings = TrainSettings()


@dataclass(frozen=True)
class Course:
    """Rows by what they are for, and who asks about them. final: looked at when everything has been chosen."""

    inquiry: Inquiry
    training: Sequence[Row]
    validation: Sequence[Row]
    final: Sequence[Row]
    part: str  # what the final rows are called
    folder: Path
    advice: str  # the command that goes on


class Parts(NamedTuple):
    """Rows to learn from, to choose by, and to be measured on at the end; what the last ones are called."""

    training: list[Row]
    validation: list[Row]
    final: list[Row]
    name: str


def parts(ready: Plan[Any]) -> Parts:
    """Rows to choose by stay apart from those to be measured on: where none are set aside to test on, the validation
    rows are those, and a fifth of the rows to learn from is chosen by."""
    settings, made = ready.settings, ready.made
    if made.test:
        return Parts(limited(made.training, settings), limited(made.validation, settings), made.test, "test")
    chosen = made.training[::5]
    training = [row for number, row in enumerate(made.training) if number % 5]
    return Parts(limited(training, settings), limited(chosen, settings), made.validation, "validation")


def course(ready: Plan[Any], voice: Voice) -> Course:
    settings, run, rows = ready.settings, ready.run, parts(ready)
    scorer = open_scorer(settings.start, settings.device, settings.precision)
    ledger = Ledger(run.path / LOOKS, stands_on(settings))
    brief = brief_from(settings, ready.made)
    inquiry = Inquiry(settings, scorer, brief, rows.training, rows.validation, ledger, voice)
    return Course(inquiry, *rows, run.path, f"danlu {settings.verb} {run}")


def taught(
    settings: Tuning, change: Part | Addition | None, spec: PromptSpec, rows: Sequence[Row],
    validation: Sequence[Row], folder: Path, voice: Voice, advice: str, shares: Tensor | None = None,
) -> Tuned:  # fmt: skip
    """Train, or go on with it, and write what came of it. shares: how much of each row belongs to each class, where not
    all of it to its label's. Stopped where it was asked to leave; advice: the command that goes on."""
    device = find_device(settings.device)
    checkpoint = Checkpoint.load(settings.start, device=device, seed=settings.seed)
    if change is None:
        checkpoint.model.requires_grad_(False)
        spec = spec if spec.soft else with_vectors(spec, settings.vectors)
    else:
        checkpoint = checkpoint.changed(change, settings.seed, settings.start)
    scorer = scorer_for(checkpoint, compute_precision(settings.precision, device).itemsize < 4)
    spec = spec.but(calibration="none", demonstrations={}, made_by=[*spec.made_by, f"tuned:{kind_of(change)}"])
    progress, learned = tune(
        scorer, spec, rows, pace(settings, change, checkpoint, len(rows)), folder, voice=voice, validation=validation,
        shares=shares, rates=rates(checkpoint), seed=settings.seed,
    )  # fmt: skip
    if progress.ended == "interrupted":
        raise Stopped(advice)
    trains = sum(each.numel() for each in learned.values()) + (trained(checkpoint.model).trains if change else 0)
    if change is not None:
        story = {"verb": settings.verb, "start": settings.start, "steps": progress.step, "seed": settings.seed}
        replace(checkpoint, lineage=story).save(folder / "model")
    spec.write(folder / PROMPT)
    if learned:
        write_vectors(folder / VECTORS, learned)
    prompter = Prompter(scorer, spec, learned or None)
    return Tuned(folder, prompter, trains, kept_bytes(folder), progress.elapsed)


def with_vectors(spec: PromptSpec, count: int) -> PromptSpec:
    """Soft vectors before the first template."""
    return spec.but(templates=[f"{{soft:{count}}} {spec.lines[0]}", *spec.templates[1:]])


def kind_of(change: Part | Addition | None) -> str:
    return change.kind if change else "soft"


def limited(rows: Sequence[Row], settings: Tuning) -> list[Row]:
    return list(rows) if settings.few is None else few(rows, settings.few, settings.seed)


def pace(settings: Tuning, change: Part | Addition | None, checkpoint: Checkpoint, rows: int) -> TrainSettings:
    """The rate and the steps, where they were left open."""
    train = settings.train
    rate = RATE * min(2.0, WIDTH / width_of(checkpoint.config)) * (change or PromptTuning()).rate
    found: Data = {} if train.lr else {"lr": float(f"{rate:.2g}")}
    if not (train.steps or train.epochs or train.minutes):
        low, high = STEPS
        found["steps"] = min(high, max(low, ROWS // train.batch, 3 * rows // train.batch))
    return train.model_copy(update=found)


def kept_bytes(folder: Path) -> int:
    """What has to be kept beside the model that a folder began with."""
    files = [folder / PROMPT, folder / VECTORS, *(folder / "model").glob("*.safetensors")]
    return sum(file.stat().st_size for file in files if file.is_file() and file.name != "golden.safetensors")
