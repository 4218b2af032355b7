"""What a classifier answers to rows, a portion at a time: no more logits at once than a portion has."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from danlu.data.batch import IGNORED
from danlu.errors import DanluError
from danlu.evaluate.predictions import Prediction, cases
from danlu.generate.rest import at_rest
from danlu.models.classifier import Classifier
from danlu.tasks.answering import Work, logits_of
from danlu.tasks.metrics import METRICS
from danlu.tasks.metrics.labels import names_of
from danlu.tasks.splits import TEXTS, fingerprint
from danlu.tasks.task import Example, Reply, Row
from danlu.train.answers import ANSWERS, AnswerSettings
from danlu.train.hardware import autocast, compute_precision, give_back_memory, is_out_of_memory
from danlu.train.settings import Precision
from danlu.voice import Voice

PORTION = 1024  # rows whose logits are held at once
BATCH = 64
SHOWN = 400  # characters of a row that are kept for reading


def predict(
    model: Classifier, work: Work, rows: Sequence[Row], voice: Voice, *, batch: int = BATCH,
    precision: Precision = "auto", columns: Sequence[Mapping[str, str]] = (),
) -> Iterator[Prediction]:  # fmt: skip
    """An answer for each row, in order. columns: what else of each row to keep, for tables. E1809 without rows."""
    if not rows:
        raise DanluError("E1809")
    portion = len(rows) if work.task.form == "vector" else PORTION  # vectors are compared with all others
    with voice.progress("evaluation", "评测", len(rows)) as bar:
        for start in range(0, len(rows), portion):
            some = rows[start : start + portion]
            examples = work.encode(some)
            logits = _logits(model, work, examples, batch, precision)
            vector = work.task.form == "vector"
            answers = ranks(logits, some) if vector else work.answers(logits, examples, some)
            costs = [(None, 1)] * len(some) if vector else _costs(work, logits, examples, some)
            lengths, cuts = _lengths(examples, len(some))
            for number, (row, answer, cost) in enumerate(zip(some, answers, costs, strict=True)):
                chance = None if math.isnan(answer.chance) else answer.chance
                more = dict(columns[start + number]) if columns else {}
                yield Prediction(
                    start + number, row.file, row.line, f"{fingerprint(row):016x}", text_of(row), answer.value,
                    work.task.reference(row), chance, *cost, lengths[number], cuts[number], more,
                )  # fmt: skip
            bar.advance(len(some))


def scores(
    model: Classifier, work: Work, rows: Sequence[Row], voice: Voice, *, batch: int = BATCH,
    precision: Precision = "auto",
) -> dict[str, float]:  # fmt: skip
    """The loss a target and the task's metrics, without intervals: what is looked at while training."""
    found = list(predict(model, work, rows, voice.silenced(), batch=batch, precision=precision))
    known = [each for each in found if each.loss is not None]
    given = cases(found)
    loss = sum(each.loss or 0.0 for each in known) / max(1, sum(each.targets for each in known))
    return {"loss": loss} | {name: METRICS[name](given.predictions, given.references) for name in work.task.metrics}


def check_labels(work: Work, rows: Sequence[Row]) -> None:
    """E1823 where the model knows none of the right answers."""
    if rows and not any(knows(work, row) for row in rows):
        named = sorted({name for row in rows[:20] for name in names_of(work.task.reference(row))})
        raise DanluError("E1823", where=rows[0].file, found=named, possible=work.labels)


def text_of(row: Row) -> str:
    """What a person needs to see of a row, in a line."""
    parts = [row.values[role] for role in TEXTS if row.values.get(role) not in (None, "")]
    whole = " ‖ ".join(" ".join(map(str, part)) if isinstance(part, (list, tuple)) else str(part) for part in parts)
    return whole if len(whole) <= SHOWN else whole[: SHOWN - 1] + "…"


def ranks(vectors: Sequence[Tensor], rows: Sequence[Row]) -> list[Reply]:
    """vectors (K, D) of each row: the place of its own text among those of all rows, 1 for the nearest. Texts that are
    equal count as one."""
    queries, partners = (torch.stack([each[place] for each in vectors]) for place in (0, 1))
    kind = torch.from_numpy(np.unique([str(row.values["text_b"]) for row in rows], return_inverse=True)[1])
    found = []
    for start in range(0, len(rows), PORTION):
        likeness = queries[start : start + PORTION] @ partners.T
        here = kind[start : start + PORTION]
        own = likeness.gather(1, torch.arange(start, start + len(likeness))[:, None])
        nearer = (likeness > own) & (here[:, None] != kind)
        places = (1 + len(set(kind[row].tolist())) for row in nearer)
        found += [Reply(place, float(score)) for place, score in zip(places, own[:, 0], strict=True)]
    return found


def knows(work: Work, row: Row) -> bool:
    """Whether the right answer is among what the head can say."""
    task = work.task
    return not work.labels or task.problem == "number" or set(names_of(task.reference(row))) <= set(work.labels)


def _logits(model: Classifier, work: Work, examples: list[Example], batch: int, precision: Precision) -> list[Tensor]:
    """Where memory runs out, once more with half as many rows at a time."""
    while True:
        try:
            with at_rest(model) as device, autocast(device, compute_precision(precision, device)):
                return logits_of(model, work, examples, work.loader(examples, batch, asked=False))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or batch == 1:
                raise
        batch = (batch + 1) // 2
        give_back_memory(next(model.parameters()).device)


def _costs(
    work: Work, logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row]
) -> list[tuple[float | None, int]]:
    """The loss of each row, and its targets. A row may be several examples (windows of a long text)."""
    sums: list[float | None] = [None] * len(rows)
    counts = [0] * len(rows)
    known = [knows(work, row) for row in rows]
    sizes: dict[str, Callable[[Example], int]] = {
        "token": lambda each: each.length, "span": lambda each: each.length, "choice": lambda each: len(each.options),
    }  # fmt: skip
    for example, given in zip(examples, logits, strict=True):
        if example.target is None or not known[example.row]:
            continue
        wanted = work.collate([example]).targets[work.head]
        own = given[: sizes[work.task.form](example)] if work.task.form in sizes else given  # without padding
        cost = float(ANSWERS[work.task.loss](own[None], wanted, AnswerSettings()))
        sums[example.row] = (sums[example.row] or 0.0) + cost
        counts[example.row] += 1 if wanted.is_floating_point() else int((wanted != IGNORED).sum())
    return [(cost, max(1, count)) for cost, count in zip(sums, counts, strict=True)]


def _lengths(examples: Sequence[Example], rows: int) -> tuple[list[int], list[int]]:
    lengths, cuts = [0] * rows, [0] * rows
    for example in examples:
        lengths[example.row] += example.length
        cuts[example.row] += example.cut
    return lengths, cuts
