"""How well a model does on what it was not trained on."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from danlu import files
from danlu.data.batch import Batch
from danlu.train.distributed import World
from danlu.train.hardware import give_back_memory, is_out_of_memory
from danlu.train.objectives import Objective


class Batches(Protocol):
    """Where batches come from: a pure function of the step."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, step: int) -> Batch: ...


class Stream(Batches, Protocol):
    """Batches, some of them made ahead.

    Where batches differ in size, the largest come first, so that memory runs out at once or never.
    """

    def stream(self, first: int) -> Iterator[Batch]: ...


class Sliced:
    """Of each batch of a stream, the rows of one process."""

    def __init__(self, stream: Stream, world: World):
        self.whole, self.world = stream, world

    @property
    def steps_per_epoch(self) -> int:
        return self.whole.steps_per_epoch

    def batch(self, step: int) -> Batch:
        return self.whole.batch(step).part(self.world.rank, self.world.size)

    def stream(self, first: int) -> Iterator[Batch]:
        return (batch.part(self.world.rank, self.world.size) for batch in self.whole.stream(first))


def sliced(stream: Stream, world: World) -> Stream:
    """A stream as one process sees it; one that can (`sliced`) makes no other rows."""
    if world.alone:
        return stream
    own = getattr(stream, "sliced", None)
    mine: Stream = own(world.rank, world.size) if own else Sliced(stream, world)
    return mine


class HeldOut:
    """The losses of a held-out loader, each a mean over its targets; `loss` is what training would minimise.

    Several processes take turns with the batches.
    """

    def __init__(self, objective: Objective, loader: Batches, batches: int | None = None, world: World | None = None):
        """batches: how many to look at, the same ones each time; None: the whole loader."""
        self.objective, self.loader, self.world = objective, loader, world or World()
        self.batches = min(batches or loader.steps_per_epoch, loader.steps_per_epoch)
        self.rows: int | None = None  # in one forward pass, once memory has run out

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        totals = dict.fromkeys(self.objective.weights, 0.0)
        counts = dict.fromkeys(self.objective.weights, 0)
        for step in range(self.world.rank, self.batches, self.world.size):
            batch = self.loader.batch(step)
            for name, total in self._sums(model, batch, device).items():
                totals[name] += total
            for name, count in self.objective.counts(batch).items():
                counts[name] += count
            files.reached("in evaluation")
        added = self.world.sums([*totals.values(), *counts.values()])
        totals = dict(zip(totals, added, strict=False))
        counts = dict(zip(counts, map(int, added[len(totals) :]), strict=True))
        means = {name: totals[name] / count for name, count in counts.items() if count}
        loss = sum(self.objective.weights[name] * mean for name, mean in means.items())
        return {"loss": loss} | {f"{name}_loss": mean for name, mean in means.items()}

    def _sums(self, model: nn.Module, batch: Batch, device: torch.device) -> dict[str, float]:
        """Summed losses of a batch; where memory runs out, once more in smaller pieces, now and later."""
        while True:
            sums = dict.fromkeys(self.objective.weights, 0.0)
            rows = min(self.rows or batch.rows, batch.rows)
            try:
                for piece in batch.split(rows):
                    for name, total in self.objective(model, piece.to(device)).items():
                        sums[name] += float(total)
                return sums
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or rows == 1:
                    raise
            self.rows = (rows + 1) // 2
            give_back_memory(device)
