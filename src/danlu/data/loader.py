"""Batches as a pure function of the step, made a little ahead in a thread.

Samples are numbered without end: number g belongs to epoch g // rows and stands at place g % rows of that epoch's
shuffle. Batch `step` holds the numbers [step · batch, (step + 1) · batch). So every row is seen once an epoch, every
batch is full, and the last batch of an epoch is filled with the first rows of the next; a corpus smaller than one batch
just passes through several epochs within it, corrupted differently each time.
"""

from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread

import numpy as np

from danlu.data.batch import Batch
from danlu.data.corpus import Numbers
from danlu.data.corruption import Corrupt
from danlu.data.order import Chance, permuted
from danlu.data.packing import Rows
from danlu.errors import DanluError


class Loader:
    """`shuffle=True` for training: endless, and E1220 where the corpus does not fill one row.

    `shuffle=False` for evaluation: each row once, in order, always corrupted the same way, the last batch as small as
    it comes; steps beyond `steps_per_epoch` begin again.
    """

    def __init__(self, rows: Rows, corruption: Corrupt, batch: int, seed: int, shuffle: bool = True):
        self.rows, self.corruption, self.size, self.seed, self.shuffle = rows, corruption, batch, seed, shuffle
        if not len(rows) or (shuffle and not rows.full):
            tokens = rows.corpus.size
            raise DanluError("E1220", found=tokens, possible=f"≥ {rows.length}", length=rows.length, tokens=tokens)

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
        numbers = np.arange(step * self.size, (step + 1) * self.size)
        epochs = numbers // total
        return epochs, permuted(self.seed, epochs, numbers % total, total)

    def batch(self, step: int) -> Batch:
        """The same for ever, whatever was asked before."""
        epochs, rows = self.samples(step)
        chance = Chance(self.seed, epochs, rows)
        return self.corruption(self.rows.take(rows, chance), chance)

    def stream(self, first: int = 0, last: int | None = None, ahead: int = 2) -> Iterator[Batch]:
        """Batches `first` up to, not including, `last` (without end where there is none), made `ahead` in a thread."""
        ready: Queue[Batch | BaseException | None] = Queue(maxsize=ahead)
        stop = Event()

        def offer(item: Batch | BaseException | None) -> None:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return
                except Full:
                    pass

        def work() -> None:
            step = first
            try:
                while not stop.is_set() and (last is None or step < last):
                    offer(self.batch(step))
                    step += 1
                offer(None)
            except BaseException as error:  # handed to the reader, who raises it
                offer(error)

        thread = Thread(target=work, name="danlu-loader", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            while thread.is_alive():
                try:
                    ready.get_nowait()
                except Empty:
                    thread.join(timeout=0.1)
