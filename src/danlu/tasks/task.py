"""What a task is: data, and three functions from rows to examples, from examples to targets, from answers to words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    """What a row becomes. tokens, segments: of a row, or of each of its options. target: what a head should answer.
    row: its place among the rows. cut: how many tokens found no room. places: where tokens stand in the row, for who
    puts answers back."""

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


Encode = Callable[[Sequence[Row], Framing, tuple[str, ...]], list[Example]]
Targets = Callable[[Sequence[Example], int], Tensor]
Answer = Callable[[Sequence[Tensor], Sequence[Example], Sequence[Row], tuple[str, ...]], list[Any]]
Labels = Callable[[Sequence[Row]], tuple[str, ...]]


@dataclass(frozen=True)
class Task:
    """columns: roles every row has; optional: roles it may have. form and problem: of the head. loss: by its name.
    metrics: names, the first is what a run is judged by. labels: names of a head's outputs, from the rows to train on.
    encode: rows -> examples. targets: examples, and the tokens of their longest -> the tensor a loss wants. answer: what
    a head gave for each example -> a prediction for each row, as people read it."""

    name: str
    columns: tuple[str, ...]
    form: Form
    loss: str
    metrics: tuple[str, ...]
    encode: Encode
    targets: Targets
    answer: Answer
    labels: Labels
    en: str
    zh: str
    problem: Problem = "single"
    optional: tuple[str, ...] = field(default=())


def collate(examples: Sequence[Example], pad: int, targets: Mapping[str, Tensor]) -> Batch:
    """Rows of one length: padded on the right, with `valid` only where there is padding, `segments` only where some
    token is of the second. Examples with options become (B, K, T); missing options are rows of one token."""
    options = [example.options for example in examples]
    width, most = max(example.length for example in examples), max(map(len, options))
    lead = (len(examples), most) if any(len(each) > 1 for each in options) else (len(examples), 1)
    tokens = torch.full((*lead, width), pad)
    valid = torch.zeros((*lead, width), dtype=torch.bool)
    segments = torch.zeros((*lead, width), dtype=torch.long)
    for number, (example, rows) in enumerate(zip(examples, options, strict=True)):
        marks = example.segments if len(rows) > 1 else [example.segments]
        for place, row in enumerate(rows):
            tokens[number, place, : len(row)] = torch.tensor(row)
            valid[number, place, : len(row)] = True
            if marks and marks[place] is not None:
                segments[number, place, : len(row)] = torch.tensor(marks[place])
    valid[..., 0] = True  # an option that is missing
    inputs = {"tokens": tokens}
    if not bool(valid.all()):
        inputs["valid"] = valid
    if bool(segments.any()):
        inputs["segments"] = segments
    if lead[1] == 1:
        inputs = {name: tensor.squeeze(1) for name, tensor in inputs.items()}
    return Batch(inputs, targets)
