"""What a task is: data, and a few functions from rows to examples, to targets, and from answers back to words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from danlu.data.batch import Batch
from danlu.models.classifier import Form, Problem
from danlu.tasks.framing import Framing


class Row(NamedTuple):
    """One row of data by the roles of its columns; `file` and `line` say where it stood."""

    values: Mapping[str, Any]
    file: str = ""
    line: int = 0


@dataclass(frozen=True)
class Example:
    """What a row, or a part of one, becomes. tokens, segments: of a row, or of each of its options. target: what a head
    should answer. row: its place among the rows. cut: how many tokens found no room. places: where its tokens stand in
    the row, for who puts answers back."""

    tokens: Sequence[Any]
    segments: Sequence[Any] | None = None
    target: Any = None
    row: int = 0
    cut: int = 0
    places: Any = None

    @property
    def options(self) -> list[list[int]]:
        """The rows of tokens it is made of."""
        return list(self.tokens) if self.tokens and not isinstance(self.tokens[0], int) else [list(self.tokens)]

    @property
    def length(self) -> int:
        """Tokens of the longest of them."""
        return max(map(len, self.options))


class Reply(NamedTuple):
    """What a model answers to a row. value: of the kind the rows have. chance: how likely the model holds it to be,
    where it can tell. scores: of each label. cut: tokens of the row that found no room."""

    value: Any
    chance: float = float("nan")
    scores: Mapping[str, float] = {}
    cut: int = 0


Labels = tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """columns: roles every row has; optional: roles it may have. form and problem: of the head. loss: by its name in
    train.answers. metrics: names; the first is what a run is judged by.

    fit: what is wrong with a row's values (a reason of the ledger), or its values as the other functions want them.
    labels: names of a head's outputs, from the rows to train on. encode: rows -> examples. targets: examples, and the
    tokens of their longest -> what the loss wants. answer: what a head gave for each example -> a reply a row.
    reference: the right answer of a row, of the kind that replies have.
    """

    name: str
    columns: tuple[str, ...]
    form: Form
    loss: str
    metrics: tuple[str, ...]
    fit: Callable[[Mapping[str, Any]], Mapping[str, Any] | str]
    labels: Callable[[Sequence[Row]], Labels]
    encode: Callable[[Sequence[Row], Framing, Labels], list[Example]]
    targets: Callable[[Sequence[Example], int], Tensor]
    answer: Callable[[Sequence[Tensor], Sequence[Example], Sequence[Row], Labels], list[Reply]]
    reference: Callable[[Row], Any]
    en: str
    zh: str
    problem: Problem = "single"
    optional: tuple[str, ...] = field(default=())


def with_targets(examples: Sequence[Example], targets: Sequence[Any]) -> list[Example]:
    return [replace(each, target=target) for each, target in zip(examples, targets, strict=True)]


def collate(examples: Sequence[Example], pad: int, targets: Mapping[str, Tensor]) -> Batch:
    """Rows of one length: padded on the right, with `valid` only where there is padding, `segments` only where some
    token is of the second. Examples with options become (B, K, T); missing options are rows of one token."""
    options = [example.options for example in examples]
    width, most = max(example.length for example in examples), max(map(len, options))
    shape = (len(examples), most, width)
    tokens, segments = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long)
    valid = torch.zeros(shape, dtype=torch.bool)
    valid[..., 0] = True  # of an option that is missing
    for number, (example, rows) in enumerate(zip(examples, options, strict=True)):
        marks = example.segments if len(rows) > 1 or example.segments is None else [example.segments]
        for place, row in enumerate(rows):
            tokens[number, place, : len(row)] = torch.tensor(row)
            valid[number, place, : len(row)] = True
            if marks is not None and marks[place] is not None:
                segments[number, place, : len(row)] = torch.tensor(marks[place])
    inputs = {"tokens": tokens}
    if not bool(valid.all()):
        inputs["valid"] = valid
    if bool(segments.any()):
        inputs["segments"] = segments
    if most == 1:
        inputs = {name: tensor.squeeze(1) for name, tensor in inputs.items()}
    return Batch(inputs, targets)
