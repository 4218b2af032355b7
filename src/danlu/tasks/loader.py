"""Batches of examples of about one length, as a pure function of the step."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from danlu.data.ahead import made_ahead
from danlu.data.batch import Batch
from danlu.data.mixing import Drawn
from danlu.data.order import permuted, uniforms
from danlu.tasks.task import Example

Indices = NDArray[np.int64]
Collate = Callable[[Sequence[Example]], Batch]
POOL = 50  # batches' worth of shuffled examples are sorted by length, then cut into batches


class TaskLoader:
    """A batch ends after `rows` examples, or before it would hold more than `tokens`, padding included.

    With `shuffle`, an epoch's examples are shuffled, sorted by length within large pools, cut, and the batches shuffled
    again; the largest batch of all comes first. Without, they are sorted by length and each comes once.
    """

    def __init__(
        self, examples: Sequence[Example], collate: Collate, rows: int, seed: int = 0, *, tokens: int | None = None,
        shuffle: bool = True,
    ):  # fmt: skip
        self.examples, self.collate, self.rows, self.seed = examples, collate, rows, seed
        self.tokens, self.shuffle = tokens, shuffle
        self.lengths = np.array([example.length for example in examples], np.int64)
        self.sizes = np.array([len(example.options) for example in examples], np.int64)
        self._epoch = lru_cache(2)(self._planned)
        self._ends: list[int] = []  # the number of batches up to the end of each epoch

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the first epoch; token budgets make others differ by a few."""
        return len(self._epoch(0))

    def indices(self, step: int) -> Indices:
        """Which examples a batch holds."""
        if not self.shuffle:
            return self._epoch(0)[step % self.steps_per_epoch]
        epoch = 0
        while True:
            if epoch == len(self._ends):
                self._ends.append((self._ends[-1] if self._ends else 0) + len(self._epoch(epoch)))
            if step < self._ends[epoch]:
                return self._epoch(epoch)[step - (self._ends[epoch - 1] if epoch else 0)]
            epoch += 1

    def batch(self, step: int) -> Batch:
        """The same for ever, whatever was asked before."""
        return self.collate([self.examples[index] for index in self.indices(step).tolist()])

    def stream(self, first: int = 0) -> Iterator[Batch]:
        """Batches from `first` on, without end, made ahead in a thread."""
        return made_ahead(self.batch, first)

    def drawn(self, batches: int) -> list[Drawn]:
        """Nothing to tell: all rows are of one source."""
        return []

    def _planned(self, epoch: int) -> list[Indices]:
        count = len(self.examples)
        if not self.shuffle:
            return self._cut(np.argsort(self.lengths, kind="stable"))
        order = permuted(self.seed, epoch, np.arange(count), count)
        pool = POOL * self.rows
        batches = [
            batch
            for start in range(0, count, pool)
            for batch in self._cut(_by_length(order[start : start + pool], self.lengths))
        ]
        shuffled = np.argsort(uniforms(self.seed, [epoch], [count], len(batches))[0], kind="stable")
        planned = [batches[place] for place in shuffled]
        if epoch == 0:
            sizes = [int(self.lengths[batch].max() * self.sizes[batch].sum()) for batch in planned]
            planned.insert(0, planned.pop(int(np.argmax(sizes))))
        return planned

    def _cut(self, order: Indices) -> list[Indices]:
        """Cut examples, in this order, into batches within the limits."""
        batches, start, widest, options = [], 0, 0, 0
        for place, index in enumerate(order.tolist()):
            widest, options = max(widest, int(self.lengths[index])), options + int(self.sizes[index])
            full = place - start >= self.rows or (self.tokens is not None and widest * options > self.tokens)
            if full and place > start:
                batches.append(order[start:place])
                start, widest, options = place, int(self.lengths[index]), int(self.sizes[index])
        return [*batches, order[start:]] if len(order) else []


def _by_length(indices: Indices, lengths: Indices) -> Indices:
    return indices[np.argsort(lengths[indices], kind="stable")]
