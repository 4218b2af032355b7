"""What a model writes in answer to rows, and what it holds of the right answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from danlu.checkpoint import Checkpoint
from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.evaluate.answers import PORTION, text_of
from danlu.evaluate.predictions import Prediction
from danlu.generate.decode import GenerateSettings
from danlu.generate.engine import Engine
from danlu.generate.rest import at_rest
from danlu.models.build import Model
from danlu.tasks.paper import Paper
from danlu.tasks.preferring import Preferences
from danlu.tasks.splits import fingerprint
from danlu.tasks.task import Row
from danlu.train.hardware import autocast, compute_precision
from danlu.train.preference import answer_likelihoods
from danlu.train.settings import Precision
from danlu.voice import Voice


def write_answers(
    checkpoint: Checkpoint, paper: Paper, rows: Sequence[Row], voice: Voice, *, precision: Precision = "auto",
    columns: Sequence[Mapping[str, str]] = (),
) -> Iterator[Prediction]:  # fmt: skip
    """An answer to the last question of each row, in order, as the paper's settings look for it. E1809 without rows."""
    if not rows:
        raise DanluError("E1809")
    engine, settings = Engine(checkpoint), paper.settings
    how = GenerateSettings(
        max_new_tokens=settings.length, beams=settings.beams, length_penalty=settings.length_penalty, temperature=0.0
    )
    with voice.progress("writing", "写作", len(rows)) as bar:
        for start in range(0, len(rows), PORTION):
            some = rows[start : start + PORTION]
            prompts = [paper.prompt(paper.task.messages(row.values, settings)[:-1]) for row in some]
            with at_rest(checkpoint.model) as device, autocast(device, compute_precision(precision, device)):
                written = engine.write([ids for ids, _ in prompts], how)
            for number, (row, (prompt, cut), ids) in enumerate(zip(some, prompts, written, strict=True)):
                said = engine.tokenizer.decode(ids).strip()
                yield _prediction(start + number, row, said, paper.task.reference(row), len(prompt), cut, columns)
            bar.advance(len(some))


def weigh_answers(
    model: Model, paper: Preferences, rows: Sequence[Row], voice: Voice, *, batch: int = 16,
    precision: Precision = "auto", columns: Sequence[Mapping[str, str]] = (),
) -> Iterator[Prediction]:  # fmt: skip
    """Which of a row's two answers the model holds to be likelier, token by token: `chosen` is right."""
    for number, (example, pair) in enumerate(
        zip(paper.encode(rows), likelihoods(model, paper, rows, voice, batch, precision), strict=True)
    ):
        row = rows[number]
        each = [value / max(1, _asked(target)) for value, target in zip(pair, example.target, strict=True)]
        said = "chosen" if each[0] > each[1] else "rejected"
        yield _prediction(number, row, said, "chosen", example.length, example.cut, columns)


def likelihoods(
    model: Model, paper: Preferences, rows: Sequence[Row], voice: Voice, batch: int = 16, precision: Precision = "auto"
) -> list[tuple[float, float]]:
    """The log-probabilities of both answers of each row, in nats."""
    examples, found = paper.encode(rows), []
    with voice.progress("weighing", "权衡", len(rows)) as bar, at_rest(model) as device:
        for start in range(0, len(examples), batch):
            given: Batch = paper.collate(examples[start : start + batch]).to(device)
            with autocast(device, compute_precision(precision, device)):
                found += [tuple(pair) for pair in answer_likelihoods(model, given).tolist()]
            bar.advance(len(given.targets["before"]))
    return found


def _asked(target: Sequence[Any]) -> int:
    return sum(map(bool, target)) if target and isinstance(target[0], bool) else len(target)


def _prediction(
    number: int, row: Row, said: str, right: Any, length: int, cut: int, columns: Sequence[Mapping[str, str]]
) -> Prediction:
    more = dict(columns[number]) if columns else {}
    key = f"{fingerprint(row):016x}"
    return Prediction(
        number, row.file, row.line, key, text_of(row), said, right, length=length, cut=cut, columns=more
    )  # fmt: skip
