"""A classifier put to use: batches of examples in, answers out, in the order of the examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from danlu.data.batch import Batch
from danlu.models.classifier import Classifier
from danlu.tasks.framing import Framing
from danlu.tasks.loader import TaskLoader
from danlu.tasks.task import Example, Reply, Row, Task, collate


@dataclass(frozen=True)
class Work:
    """A task with what it was made concrete by: the head that answers, its labels, and how texts are framed. shift,
    scale: numbers are learnt as (number - shift) / scale."""

    task: Task
    head: str
    labels: tuple[str, ...]
    framing: Framing
    shift: float = 0.0
    scale: float = 1.0

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        return self.task.encode(rows, self.framing, self.labels)

    def collate(self, examples: Sequence[Example], asked: bool = True) -> Batch:
        """asked: with targets."""
        width = max(example.length for example in examples)
        return collate(examples, self.framing.pad, {self.head: self.targets(examples, width)} if asked else {})

    def targets(self, examples: Sequence[Example], width: int) -> Tensor:
        """What the head should give, for examples of at most `width` tokens."""
        targets = self.task.targets(examples, width)
        return (targets - self.shift) / self.scale if self.task.problem == "number" else targets

    def loader(
        self, examples: Sequence[Example], rows: int, seed: int = 0, *, tokens: int | None = None,
        shuffle: bool = False, asked: bool = True,
    ) -> TaskLoader:  # fmt: skip
        return TaskLoader(examples, partial(self.collate, asked=asked), rows, seed, tokens=tokens, shuffle=shuffle)

    def answers(self, logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row]) -> list[Reply]:
        """What a person reads, row by row, from what the head gave for each example."""
        if self.task.problem == "number":
            logits = [each * self.scale + self.shift for each in logits]
        return self.task.answer(logits, examples, rows, self.labels)


@torch.no_grad()
def logits_of(model: Classifier, work: Work, examples: Sequence[Example], loader: TaskLoader) -> list[Tensor]:
    """What the head gives for each example, as its batch had it, in the order of the examples; float32, on the CPU."""
    device = next(model.parameters()).device
    found: list[Tensor | None] = [None] * len(examples)
    for step in range(loader.steps_per_epoch):
        given = loader.batch(step).to(device).inputs
        logits = model.answers([work.head], **given)[work.head].float().cpu()
        for index, row in zip(loader.indices(step).tolist(), logits, strict=True):
            found[index] = row
    return [each for each in found if each is not None]
