"""Loaders that take turns, and loaders that follow each other: still a pure function of the step.

`Turns` is for objectives, or tasks, whose rows cannot stand in one batch; `Course` for a curriculum, short rows first.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Protocol, TypeVar

import numpy as np

from danlu.data.ahead import made_ahead
from danlu.data.batch import Batch
from danlu.data.mixing import Drawn, summed

T = TypeVar("T")

FINENESS = 5040  # turns in which weights are kept, at most: a whole number of each share that people write


class Batches(Protocol):
    """What takes turns: the batch of any step, whatever was asked before."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, step: int) -> Batch: ...

    def drawn(self, batches: int) -> list[Drawn]: ...


class Turns:
    """Each step belongs to one loader, as often as its weight says and as evenly spread as can be.

    Nothing is drawn: turns by lot would only make the portions uneven. The targets of a batch go by the name of its
    turn, so that losses are told apart. every: so many steps in a row are one turn, for batches that are accumulated.
    """

    def __init__(self, loaders: Mapping[str, Batches], weights: Mapping[str, float], every: int = 1):
        self.loaders, self.every = dict(loaders), every
        self.names = list(self.loaders)
        counts = whole([weights[name] for name in self.names])
        places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
        owners = np.repeat(np.arange(len(counts)), counts)
        self.order = owners[np.argsort(places, kind="stable")]
        self.counts = np.array(counts)
        before = np.stack([np.cumsum(self.order == number) for number in range(len(counts))])
        self.rank = before[self.order, np.arange(len(self.order))] - 1  # the how-manieth turn of its own it is

    @property
    def steps_per_epoch(self) -> int:
        return sum(loader.steps_per_epoch for loader in self.loaders.values())

    def whose(self, step: int) -> tuple[str, int]:
        """The loader a step belongs to, and which of the loader's own steps it is."""
        turn, within = divmod(step, self.every)
        round_, place = divmod(turn, len(self.order))
        owner = self.order[place]
        own = round_ * self.counts[owner] + self.rank[place]
        return self.names[owner], int(own) * self.every + within

    def drawn(self, batches: int) -> list[Drawn]:
        """How much of each source the first batches hold, turn by turn."""
        rounds, place = divmod(batches // self.every, len(self.order))
        own = self.every * (rounds * self.counts + np.bincount(self.order[:place], minlength=len(self.counts)))
        several = zip(self.names, own.tolist(), strict=True)
        return [each._replace(turn=name) for name, count in several for each in self.loaders[name].drawn(count)]

    def batch(self, step: int) -> Batch:
        name, own = self.whose(step)
        batch = self.loaders[name].batch(own)
        return Batch(batch.inputs, titled(name, batch.targets))

    def stream(self, first: int = 0, last: int | None = None, ahead: int = 2) -> Iterator[Batch]:
        return made_ahead(self.batch, first, last, ahead)


class Course:
    """One loader after the other: `loaders[0]` for its number of steps, and so on, the last without end."""

    def __init__(self, loaders: Sequence[tuple[int, Batches]], last: Batches):
        self.loaders = [loader for _, loader in loaders] + [last]
        self.starts = [0, *np.cumsum([steps for steps, _ in loaders]).tolist()]

    @property
    def steps_per_epoch(self) -> int:
        return self.loaders[-1].steps_per_epoch

    def drawn(self, batches: int) -> list[Drawn]:
        """How much of each source the first batches hold."""
        ends = [*self.starts[1:], batches]
        counts = [max(0, min(end, batches) - start) for start, end in zip(self.starts, ends, strict=True)]
        return summed(loader.drawn(count) for loader, count in zip(self.loaders, counts, strict=True))

    def batch(self, step: int) -> Batch:
        number = bisect_right(self.starts, step) - 1
        return self.loaders[number].batch(step - self.starts[number])

    def stream(self, first: int = 0, last: int | None = None, ahead: int = 2) -> Iterator[Batch]:
        return made_ahead(self.batch, first, last, ahead)


def titled(name: str, targets: Mapping[str, T]) -> dict[str, T]:
    """Targets by the name of their turn; of several, `turn_kind`."""
    if len(targets) == 1:
        return dict(zip([name], targets.values(), strict=True))
    return {f"{name}_{kind}": target for kind, target in targets.items()}


def whole(weights: Sequence[float]) -> list[int]:
    """Small whole numbers in these proportions, none of them 0; whole weights stay."""
    total = sum(weights)
    if all(float(weight).is_integer() for weight in weights):
        counts = [int(weight) for weight in weights]
    else:
        counts = [max(1, round(FINENESS * weight / total)) for weight in weights]
    return [count // gcd(*counts) for count in counts]
