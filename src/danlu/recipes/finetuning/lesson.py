"""What a fine-tuning run teaches: rows made examples of, the loss, the batches in turn, and how it is watched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.data.ledger import Ledger
from danlu.data.turns import Turns
from danlu.errors import DanluError
from danlu.evaluate.answers import scores
from danlu.evaluate.writing import likelihoods
from danlu.generate.engine import Engine
from danlu.generate.exercise import Exercise, understood, written
from danlu.models.classifier import Classifier
from danlu.recipes.finetuning.heads import to_units
from danlu.recipes.finetuning.plan import Plan
from danlu.recipes.finetuning.trials.job import Watch
from danlu.recipes.preparing.material import Material
from danlu.recipes.runs.samples import Sampler, SampleSettings, watched
from danlu.settings import Data
from danlu.tasks import Task
from danlu.tasks.answering import Work
from danlu.tasks.loader import TaskLoader
from danlu.tasks.metrics import METRICS
from danlu.tasks.paper import Paper
from danlu.tasks.preferring import Preferences
from danlu.tasks.task import Example, Row
from danlu.train.answers import AnswerObjective
from danlu.train.balance import Balance, balance
from danlu.train.distributed import World
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import Objective, TokenObjective, TokenSettings
from danlu.train.preference import PreferenceObjective
from danlu.train.settings import Precision, TrainSettings
from danlu.voice import Voice

MEASURED = 64  # rows in a forward pass of an evaluation while training
STRETCH = 50  # steps over which a loss is followed
BATCHES = 100  # of such an evaluation, where answers are texts
SHOWN = 2  # rows whose answers are shown after each evaluation

Evaluate = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True)
class Lesson:
    """Everything by the names of the tasks. exercises: the tasks as the model does them. examples, held: to train on,
    and to choose by."""

    ready: Plan
    checkpoint: Checkpoint
    exercises: Mapping[str, Exercise]
    examples: Mapping[str, Sequence[Example]]
    held: Mapping[str, Sequence[Example]]
    ledger: Data

    @property
    def objective(self) -> Objective:
        settings, alone = self.ready.settings, self.ready.alone
        weights = {name: part.choice.weight for name, part in self.ready.parts.items()}
        if not self.ready.writes:
            losses = {work.head: work.task.loss for work in self.exercises.values() if isinstance(work, Work)}
            return AnswerObjective(losses, settings.loss, weights)
        if any(isinstance(each, Preferences) for each in self.exercises.values()):
            return PreferenceObjective(settings.prefer)
        tokens = TokenSettings(smoothing=settings.loss.smoothing)
        return TokenObjective(tokens) if alone else TokenObjective(tokens, weights, dict.fromkeys(weights, "tokens"))

    @property
    def balance(self) -> Balance:
        settings, names = self.ready.settings, list(self.objective.weights)
        return balance(settings.balance, names, settings.seed, settings.train.evaluate_every or STRETCH)

    @property
    def train(self) -> TrainSettings:
        """Where the gradients of tasks are compared, a step takes a batch of each."""
        train = self.ready.settings.train
        each = len(self.exercises) if self.balance.apart else 1
        return train.model_copy(update={"accumulate": train.accumulate * each})

    def stream(self, examples: Mapping[str, Sequence[Example]], shuffle: bool) -> TaskLoader | Turns:
        """Batches of one task, or of several in turn; without `shuffle` each example once."""
        settings = self.ready.settings
        loaders = {
            name: exercise.loader(
                examples[name], settings.train.batch, settings.seed, tokens=settings.data.tokens, shuffle=shuffle
            )
            for name, exercise in self.exercises.items()
            if examples[name]
        }
        if self.ready.alone:
            return next(iter(loaders.values()))
        sampling = (0.0 if self.balance.apart else settings.sampling) if shuffle else 1.0
        shares = {name: loader.steps_per_epoch**sampling for name, loader in loaders.items()}
        return Turns(loaders, shares, settings.train.accumulate if shuffle else 1)

    def evaluation(self, step: Callable[[], int], world: World, watch: Watch | None) -> Evaluate | None:
        """What is measured while training; None where nothing was set aside. watch: is shown what was found."""
        if not any(part.made.validation for part in self.ready.parts.values()):
            return None
        measure = self._texts(step, world) if self.ready.writes else self._scores(world)

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            found = measure(model)
            if watch:
                watch(found)
            return found

        return evaluate

    def _scores(self, world: World) -> Evaluate:
        """The loss and the metrics of each task. The best weights are those of the best mean of their first metrics
        and, among equals, of the lowest loss. The process that leads measures for all."""
        settings, quiet = self.ready.settings, Voice(quiet=True)

        def evaluate(model: nn.Module) -> Mapping[str, float]:
            assert isinstance(model, Classifier)
            values: dict[str, float] = {"loss": 0.0, "cost": 0.0}
            looked = {name: part for name, part in self.ready.parts.items() if part.made.validation and world.leads}
            for name, part in looked.items():
                work = self.exercises[name]
                assert isinstance(work, Work)
                found = scores(
                    model, work, part.made.validation, quiet, batch=MEASURED, precision=settings.train.precision
                )
                first = METRICS[work.task.metrics[0]]
                best = found[first.name] * (1 if first.larger_is_better else -1)
                values["cost"] += (1e-3 * found["loss"] - best) / len(looked)
                if self.ready.alone:
                    values |= found
                else:
                    values["loss"] += part.choice.weight * found["loss"]
                    values |= {f"{name}_{key}": value for key, value in found.items()}
            return values

        return evaluate

    def _texts(self, step: Callable[[], int], world: World) -> Evaluate:
        """The loss on what is held out; and what the model answers to a few rows, to be read in the report."""
        held = HeldOut(self.objective, self.stream(self.held, shuffle=False), BATCHES, world)
        first = next(iter(self.exercises.values()))
        assert isinstance(first, Paper)
        asking = SampleSettings(tokens=min(100, first.settings.length), temperature=0.0)
        prompts = _prompts(first, self.ready.part.made.validation[:SHOWN]) if world.leads else []
        return watched(
            held, Sampler(Engine(self.checkpoint), prompts, asking, self.ready.run.path / "samples.json"), step
        )


def lesson(ready: Plan, checkpoint: Checkpoint, voice: Voice) -> Lesson:
    """Rows become examples; what cannot be used, and what was cut, is in the ledger. E1902 where no row is left."""
    exercises: dict[str, Exercise] = {}
    examples, held, ledgers = {}, {}, {}
    for name, part in ready.parts.items():
        exercise = exercises[name] = _exercise(ready, checkpoint, name)
        training, ledger = _unmarked(exercise, part.made)
        precision = ready.settings.train.precision
        examples[name], held[name] = (
            _compared(checkpoint, exercise, rows, voice, precision) if isinstance(exercise, Preferences)
            else exercise.encode(rows) if isinstance(exercise, Paper) or rows is training else []
            for rows in (training, part.made.validation)
        )  # fmt: skip
        ledgers[name] = part.made.ledger_json(_with_truncation(ledger, examples[name]))
    return Lesson(ready, checkpoint, exercises, examples, held, _summed(ledgers, ready.alone))


def _exercise(ready: Plan, checkpoint: Checkpoint, name: str) -> Exercise:
    made, length = ready.parts[name].made, ready.settings.data.length
    if isinstance(made.task, Task):
        return to_units(checkpoint, understood(checkpoint, made.task, name, length), made.unit)
    return written(checkpoint, made.task, ready.writing(name), length)


def _unmarked(exercise: Exercise, made: Material) -> tuple[list[Row], Ledger]:
    """Rows to train on without special tokens in their texts, where answers are texts; the others are in the ledger."""
    rows, ledger = made.training, made.ledger
    marked = [row for row in rows if isinstance(exercise, Paper) and exercise.is_marked(row)]
    if not marked:
        return rows, ledger
    for row in marked:
        ledger.drop("special token", row.file, row.line)
    if len(marked) == len(rows):
        raise DanluError("E1902", where=rows[0].file)
    places = {id(row) for row in marked}
    return [row for row in rows if id(row) not in places], replace(ledger, trained=ledger.trained - len(marked))


def _compared(
    checkpoint: Checkpoint, paper: Preferences, rows: Sequence[Row], voice: Voice, precision: Precision
) -> list[Example]:
    """Pairs of answers with what the model holds of them before it is trained."""
    if not rows:
        return []
    before = likelihoods(checkpoint.model, paper, rows, voice, precision=precision)
    return [replace(example, places=pair) for example, pair in zip(paper.encode(rows), before, strict=True)]


def _prompts(paper: Paper, rows: Sequence[Row]) -> list[str]:
    if isinstance(paper, Preferences):
        return []
    talks = [paper.task.messages(row.values, paper.settings) for row in rows]
    if paper.start is None:
        return [paper.template.render(messages[:-1], ask=True) for messages in talks]
    return [messages[-2].content for messages in talks]


def _with_truncation(ledger: Ledger, examples: Sequence[Example]) -> Ledger:
    """The ledger once it is known which of the rows to train on were cut."""
    cut: dict[int, int] = {}
    for example in examples:
        if example.cut:
            cut[example.row] = cut.get(example.row, 0) + example.cut
    return replace(
        ledger, trained=ledger.trained - len(cut), truncated=len(cut), truncated_by=sum(cut.values())
    ).check()


def _summed(ledgers: Mapping[str, Data], alone: bool) -> Data:
    """One ledger of all tasks, and each task's own."""
    if alone:
        return next(iter(ledgers.values()))
    total: Data = {}
    for ledger in ledgers.values():
        for key, value in ledger.items():
            total[key] = _plus(total[key], value) if key in total else value
    return total | {"tasks": dict(ledgers)}


def _plus(one: object, other: object) -> object:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _plus(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
                for key in {**one, **other}}  # fmt: skip
    return one + other  # type: ignore[operator]
