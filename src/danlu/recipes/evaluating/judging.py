"""A fine-tuned model on rows with answers: of its own run, or of any file; the results into the run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from danlu.checkpoint import Checkpoint
from danlu.data.ledger import Ledger
from danlu.errors import DanluError, nearest
from danlu.evaluate.answers import BATCH, check_labels, predict
from danlu.evaluate.intervals import Comparison
from danlu.evaluate.judge import details, measured, unseen, wanted
from danlu.evaluate.predictions import FILE, Prediction, write_predictions
from danlu.evaluate.writing import weigh_answers, write_answers
from danlu.generate.exercise import Exercise
from danlu.models.classifier import Classifier
from danlu.recipes.preparing.material import Given, look, usable
from danlu.recipes.runs.folder import Run, add_results, slug
from danlu.settings import Data
from danlu.tasks import Row, Task, Writing
from danlu.tasks.answering import Work
from danlu.tasks.metrics import MEASURES, find_metrics
from danlu.tasks.preferring import Preferences
from danlu.tasks.reading import Table, check
from danlu.tasks.settings import TaskData
from danlu.train.settings import Precision
from danlu.voice import Voice


@dataclass(frozen=True)
class Judged:
    """A model's answers to a file, and what they come to."""

    data: str
    task: str
    predictions: list[Prediction]
    results: list[Data]
    details: Data


@dataclass(frozen=True)
class Judging:
    """How to judge. metrics: beside the task's own. slices: columns to make tables by."""

    metrics: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    batch: int = BATCH
    precision: Precision = "auto"
    seed: int = 0


def judge(
    checkpoint: Checkpoint, exercise: Exercise, rows: Sequence[Row], data: str, voice: Voice, how: Judging,
    columns: Sequence[dict[str, str]] = (),
) -> Judged:  # fmt: skip
    """What a model answers, writes or prefers, and what that comes to. E1809, E1820, E1823."""
    task, labels = exercise.task, exercise.labels
    more = find_metrics(how.metrics, task.name)
    found = list(_answers(checkpoint, exercise, rows, voice, how, columns))
    own = wanted(task.name, task.metrics, found)
    if strange := unseen(found, labels if task.problem != "number" else ()):
        listed = ", ".join(f"{name} ({count})" for name, count in list(strange.items())[:12])
        voice.say(f"labels that training never saw count as wrong: {listed}", f"训练中未见过的标签按答错计算：{listed}")
    metrics = tuple(dict.fromkeys((*own, *more)))
    results = [row | {"data": data, "unit": "rows"} for row in measured(metrics, found, how.seed)]
    parts = details(task.name, found, metrics[0], how.slices, how.seed) | {"task": task.name, "metric": metrics[0].name}
    return Judged(data, task.name, found, results, parts | ({"unseen": strange} if strange else {}))


def _answers(
    checkpoint: Checkpoint, exercise: Exercise, rows: Sequence[Row], voice: Voice, how: Judging,
    columns: Sequence[dict[str, str]],
) -> Iterator[Prediction]:  # fmt: skip
    if isinstance(exercise, Work):
        assert isinstance(checkpoint.model, Classifier)
        check_labels(exercise, rows)
        return predict(
            checkpoint.model, exercise, rows, voice, batch=how.batch, precision=how.precision, columns=columns
        )
    if isinstance(exercise, Preferences):
        return weigh_answers(checkpoint.model, exercise, rows, voice, precision=how.precision, columns=columns)
    return write_answers(checkpoint, exercise, rows, voice, precision=how.precision, columns=columns)


def keep(run: Path, judged: Judged, own: bool = False) -> list[Path]:
    """Into the run: its results, where it goes wrong, its predictions. own: of the run's own test rows."""
    name = FILE if own else f"predictions-{slug(judged.data)}.jsonl"
    written = write_predictions(run / name, judged.predictions)
    return [add_results(run, judged.results, {"answers": {judged.data: judged.details}}), written]


def say_results(rows: Sequence[Data], voice: Voice) -> None:
    """A line a measure, with its interval."""
    for row in rows:
        measure = MEASURES[row["name"]]
        between = f"  [{measure.write(row['low'])}, {measure.write(row['high'])}]" if "low" in row else ""
        voice.fact(voice.pick(measure.en, measure.zh), f"{measure.write(row['value'])}{between}")
    if rows and "low" not in rows[0]:
        voice.say("one row alone has no spread, so there is no interval", "只有一行，没有离散程度可言，因此没有区间")


def plain_comparison(found: Comparison) -> Data:
    return found.difference.plain() | {"verdict": found.verdict, "chance": found.chance}


def rows_of(
    task: Task | Writing, settings: TaskData, slices: Sequence[str] = (), limit: int | None = None,
    trained: Mapping[str, str] | None = None,
) -> tuple[list[Row], list[dict[str, str]], Ledger]:  # fmt: skip
    """Rows of a file as the task wants them, their other columns, and where every row went.

    trained: the columns that the model was trained on, taken where they are there and nothing else was said. E1809
    where no row is left, E1825 for a column that is not there; errors of reading.
    """
    given = _looked(settings, task.name, trained or {})
    names = given.tables["train"].names
    for name in slices:
        if name not in names:
            raise DanluError("E1825", where=given.where, found=name, possible=names, nearest=nearest(name, names))
    rows: list[Row] = []
    columns: list[dict[str, str]] = []
    before = given.ledger.dropped.total()
    for pair in _records(given):
        for row in usable(Table((pair,)), given.inferred, task, given.ledger):
            rows.append(row)
            columns.append({name: _shown(pair[0].values.get(name)) for name in slices})
        if limit is not None and len(rows) >= limit:
            break
    check(given.ledger, settings, given.ledger.dropped.total() - before, len(rows), "")
    if not rows:
        raise DanluError("E1809", where=given.where)
    return rows, columns if slices else [], replace(given.ledger, held_out=len(rows))


def _looked(settings: TaskData, task: str, trained: Mapping[str, str]) -> Given:
    tried = [settings.model_copy(update={"columns": dict(trained)})] if trained and not settings.columns else []
    for each in (*tried, settings):
        try:
            return look(each, task)
        except DanluError as error:
            if error.code == "E1902":  # as training puts it
                raise DanluError("E1809", where=error.where) from error
            if error.code != "E1203" or each is settings:
                raise
    raise AssertionError("the last attempt returns or raises")


def own_settings(run: Path) -> Data:
    """What a run was told: its columns, its length of rows, and its precision."""
    config = Run(run).config
    data, train = config.get("data"), config.get("train")
    return {"data": data if isinstance(data, dict) else {}, "train": train if isinstance(train, dict) else {}}


def _records(given: Given) -> list[Any]:
    return [pair for part in ("train", "validation", "test") for pair in given.tables[part].records]


def _shown(value: Any) -> str:
    return "" if value is None else str(value)[:80]
