"""How well a model predicts tokens: loss, perplexity, bits a byte, accuracy at masks; each with its interval.

Works on the batches of a Loader (masked or shifted as in training) and on whole texts, where a window slides so that
every token is asked for once and, but for the first window, sees at least half a window before it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from danlu.adapt import room
from danlu.data.batch import IGNORED, Batch
from danlu.errors import DanluError
from danlu.evaluate.intervals import Interval, bootstrap
from danlu.generate.engine import Engine
from danlu.generate.likelihood import Question, ask, judge
from danlu.generate.rest import at_rest
from danlu.models.build import Model
from danlu.models.language import LanguageModel
from danlu.models.sequence_to_sequence import SequenceToSequence

WINDOW = 1024  # tokens, for models without a length of their own


@dataclass
class TokenScore:
    """What was asked of a model, row by row: summed nats, targets, right answers, bytes of the text (0: not known)."""

    losses: list[float] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, loss: float, targets: int, right: int, size: int = 0) -> None:
        """One row; a row without a target does not count."""
        if targets:
            self.losses.append(loss)
            self.targets.append(targets)
            self.right.append(right)
            self.sizes.append(size)

    def loss(self) -> Interval:
        """Nats a target. E1809 where nothing was asked."""
        if not self.targets:
            raise DanluError("E1809")
        return bootstrap(self.losses, self.targets)

    def perplexity(self) -> Interval:
        return self.loss().mapped(lambda nats: math.exp(min(nats, 700.0)))

    def accuracy(self) -> Interval:
        """The share of targets that no other token was likelier than."""
        return bootstrap(self.right, self.targets)

    def bits_per_byte(self) -> Interval:
        """Of texts whose bytes are known: comparable over tokenizers."""
        return bootstrap([nats / math.log(2) for nats in self.losses], self.sizes)


def score_batches(model: Model, batches: Iterable[Batch], bf16: bool = False) -> TokenScore:
    """Rows of prepared batches: only positions with a target meet the vocabulary, and logits live only for a chunk."""
    score = TokenScore()
    for batch in batches:
        with at_rest(model) as device, torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for row in zip(*_rows(model, batch.to(device)), strict=True):
                score.add(*row)
    return score


def score_texts(
    engine: Engine, texts: Sequence[str], window: int | None = None, stride: int | None = None, bf16: bool = False,
    block: int | None = None,
) -> TokenScore:  # fmt: skip
    """Whole texts, one row a text, for a causal model: its first token follows the start (or end) token.

    `window`: tokens seen at once, the model's length at most; `stride`: tokens asked for in one window, half of it
    where not given. `block`: a row for so many tokens in sequence rather than for a text, each with the same context as
    ever: of few long texts nothing else has a spread. E1802 for a model that is not causal.
    """
    if engine.kind != "causal":
        raise DanluError("E1802")
    width = min(window or WINDOW, room(engine.model) or WINDOW)
    score, first = TokenScore(), engine.first
    encoded = engine.tokenizer.encode_with_offsets(texts)
    rows = [ids for ids, _ in encoded]
    questions = [list(_windows(row, first, width, min(stride or width // 2, width - len(first)))) for row in rows]
    answers = iter(ask(engine.model, [each for some in questions for each in some], bf16))
    for text, (_, offsets), some in zip(texts, encoded, questions, strict=True):
        parts = [next(answers) for _ in some]
        if not parts:
            continue
        likely = torch.cat([part.log_probability for part in parts]).double()
        right = torch.cat([part.right for part in parts])
        begins = [start for start, _ in offsets][len(offsets) - len(right) :]  # the first token may not be asked for
        begins[0] = 0 if len(offsets) == len(right) else begins[0]
        size = block or len(right)
        for at in range(0, len(right), size):
            end = begins[at + size] if at + size < len(right) else len(text)
            score.add(
                -float(likely[at : at + size].sum()),
                len(right[at : at + size]),
                int(right[at : at + size].sum()),
                len(text[begins[at] : end].encode()),
            )
    return score


def _windows(ids: Sequence[int], first: Sequence[int], width: int, stride: int) -> Iterator[Question]:
    """Questions that ask for each token once: the first window as much as fits, every later one `stride` more."""
    row = [*first, *ids]
    done, end = max(len(first), 1), min(width + 1, len(row))
    while done < end:
        begin = max(end - 1 - width, 0)
        yield Question(row[begin : end - 1], [IGNORED] * (done - 1 - begin) + row[done:end])
        done, end = end, min(end + stride, len(row))


def _rows(model: Model, batch: Batch) -> tuple[list[float], list[int], list[int]]:
    """Summed nats, targets, right answers of each row."""
    targets = batch.targets["tokens"]
    asked = targets != IGNORED
    place = asked.flatten().nonzero().squeeze(1)
    inputs: dict[str, Any] = dict(batch.inputs)
    writer = cast(LanguageModel | SequenceToSequence, model)
    hidden: Tensor = writer.hidden(**inputs)
    hidden = hidden.flatten(0, 1)[place]
    likely, right = judge(writer.head, hidden, targets.flatten()[place])
    row = place // targets.shape[1]
    return (
        _summed(-likely, row, len(targets)),
        asked.sum(1).tolist(),
        [int(each) for each in _summed(right, row, len(targets))],
    )


def _summed(values: Tensor, rows: Tensor, count: int) -> list[float]:
    summed: list[float] = np.bincount(rows.cpu().numpy(), values.double().cpu().numpy(), count).tolist()
    return summed
