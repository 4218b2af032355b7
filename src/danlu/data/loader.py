"""Batches as a pure function of the step, made a little ahead in a thread.

Samples are numbered without end: number g belongs to epoch g // rows and stands at place g % rows of that epoch's
shuffle. Batch `step` holds the numbers [step · batch, (step + 1) · batch). So every row is seen once an epoch, every
batch is full, and the last batch of an epoch is filled with the first rows of the next; a corpus smaller than one batch
just passes through several epochs within it, corrupted differently each time.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from danlu.data.ahead import made_ahead
from danlu.data.batch import Batch, share
from danlu.data.corpus import Numbers
from danlu.data.corruption import Corrupt
from danlu.data.mixing import Drawn, drawn
from danlu.data.order import Chance, permuted
from danlu.data.packing import Rows
from danlu.errors import DanluError


@dataclass(frozen=True)
class Growth:
    """Batches that grow evenly from `first` rows to `full`, which they have from number `over` on (GPT-3, app. B)."""

    first: int
    full: int
    over: int

    @cached_property
    def bounds(self) -> Numbers:
        """Where each growing batch begins among the samples, and the last one ends: (over + 1,)."""
        sizes = np.round(self.first + (self.full - self.first) * np.arange(self.over) / self.over)
        return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def numbers(self, step: int) -> Numbers:
        """The samples of a batch."""
        if step < self.over:
            return np.arange(self.bounds[step], self.bounds[step + 1])
        start = self.bounds[-1] + (step - self.over) * self.full
        return np.arange(start, start + self.full)


class Loader:
    """`shuffle=True` for training: endless, and E1220 where the corpus does not fill one row.

    `shuffle=False` for evaluation: each row once, in order, always corrupted the same way, the last batch as small as
    it comes; steps beyond `steps_per_epoch` begin again. growth: the first batches are smaller than `batch`.
    """

    def __init__(
        self, rows: Rows, corruption: Corrupt, batch: int, seed: int, shuffle: bool = True, growth: Growth | None = None
    ):  # fmt: skip
        self.rows, self.corruption, self.size, self.seed, self.shuffle = rows, corruption, batch, seed, shuffle
        self.growth = growth or Growth(batch, batch, 0)
        self.rank, self.processes = 0, 1
        if not len(rows) or (shuffle and not rows.full):
            tokens = rows.corpus.size
            raise DanluError("E1220", found=tokens, possible=f"≥ {rows.length}", length=rows.length, tokens=tokens)

    def sliced(self, rank: int, size: int) -> "Loader":
        """The same batches, of each the rows of one of `size` processes; no other row is made."""
        mine = copy(self)
        mine.rank, mine.processes = rank, size
        return mine

    @property
    def steps_per_epoch(self) -> int:
        """Batches that it takes to see every row once, rounded up."""
        return -(-len(self.rows) // self.size)

    def samples(self, step: int) -> tuple[Numbers, Numbers]:
        """The epochs and row numbers of a batch."""
        total = len(self.rows)
        if not self.shuffle:
            start = step % self.steps_per_epoch * self.size
            rows = np.arange(start, min(start + self.size, total))
            return np.zeros_like(rows), rows
        numbers = self.growth.numbers(step)
        numbers = numbers[share(len(numbers), self.rank, self.processes)]
        epochs = numbers // total
        return epochs, permuted(self.seed, epochs, numbers % total, total)

    def batch(self, step: int) -> Batch:
        """The same for ever, whatever was asked before."""
        epochs, rows = self.samples(step)
        chance = Chance(self.seed, epochs, rows)
        return self.corruption(self.rows.take(rows, chance), chance)

    def origins(self, count: int) -> list[str]:
        """What the sources of the first rows are called."""
        steps = range(-(-count // max(1, len(self.samples(0)[1]))))
        return self.rows.origins(np.concatenate([self.samples(step)[1] for step in steps])[:count])

    def drawn(self, batches: int) -> list[Drawn]:
        """How much of each source the first batches hold."""
        return drawn(self.rows, self.seed, int(self.growth.numbers(batches)[0]))

    def stream(self, first: int = 0, last: int | None = None, ahead: int = 2) -> Iterator[Batch]:
        """Batches `first` up to, not including, `last` (without end where there is none), made `ahead` in a thread."""
        return made_ahead(self.batch, first, last, ahead)
