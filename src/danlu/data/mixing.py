"""Rows of several sources in fixed proportions: languages, domains."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from danlu.data.corpus import Corpus, Numbers
from danlu.data.order import Chance, permuted
from danlu.data.packing import Packed, Rows


class Drawn(NamedTuple):
    """How much of a source was seen, in tokens, and how often each of its rows. turn: for which objective, where there
    are several that take turns."""

    name: str
    languages: tuple[str, ...]
    tokens: int
    epochs: float
    turn: str = ""


def shares(sizes: Sequence[int], exponent: float) -> NDArray[np.float64]:
    """How often each source is drawn: q_i = p_i^a / sum_j p_j^a (Lample, Conneau 2019, 3.1).

    1: as much as there is of it; 0: all alike; XLM used 0.7, mBERT and XLM-R 0.7 and 0.3.
    """
    powers = (np.array(sizes) / sum(sizes)) ** exponent
    return np.asarray(powers / powers.sum())


def portions(parts: Sequence[Corpus], sampling: float) -> NDArray[np.float64]:
    """How often each of several corpora is drawn: by their weights or, without any, by their sizes."""
    weights = [part.weight for part in parts]
    if any(weight is not None for weight in weights):
        given = np.array([1.0 if weight is None else weight for weight in weights])
        if given.sum() > 0:
            return np.asarray(given / given.sum())
    return shares([part.size for part in parts], sampling)


def drawn(rows: Rows, seed: int, samples: int) -> list[Drawn]:
    """What the first `samples` of a loader's samples were made of."""
    return rows.drawn(seed, samples) if isinstance(rows, MixedRows) else [_drawn(rows, samples)]


def summed(several: Iterable[Sequence[Drawn]]) -> list[Drawn]:
    """One for each source of loaders that followed each other."""
    found: dict[tuple[str, str], Drawn] = {}
    for each in (part for parts in several for part in parts):
        before = found.get((each.turn, each.name))
        both = (each.tokens + before.tokens, each.epochs + before.epochs) if before else (each.tokens, each.epochs)
        found[each.turn, each.name] = each._replace(tokens=both[0], epochs=both[1])
    return list(found.values())


def _drawn(rows: Rows, count: int) -> Drawn:
    return Drawn(rows.corpus.name, rows.corpus.languages, count * rows.length, count / max(1, len(rows)))


class MixedRows(Rows):
    """As many rows in an epoch as there are in all, `portions` of them from each source.

    A source that is drawn more often than it has rows begins again; one that is drawn less often goes on in the next
    epoch where it stopped in this one. All sources are packed alike.
    """

    def __init__(self, sources: Sequence[Rows], portions: Sequence[float] | NDArray[np.float64]):
        kept = [(rows, portion) for rows, portion in zip(sources, portions, strict=True) if len(rows) and portion > 0]
        self.sources = [rows for rows, _ in kept] or list(sources[:1])
        self.corpus, self.length = self.sources[0].corpus, self.sources[0].length
        self.frame, self.ahead = self.sources[0].frame, self.sources[0].ahead
        self.count, self.full = sum(map(len, self.sources)), sum(rows.full for rows in self.sources)
        drawn = np.array([portion for _, portion in kept] or [1.0])
        self.bounds = np.round(np.cumsum([0.0, *drawn]) / drawn.sum() * self.count).astype(np.int64)

    def take(self, indices: ArrayLike, chance: Chance | None = None) -> Packed:
        """The rows of these numbers; those of one source stand together in the numbering."""
        rows = np.atleast_1d(np.asarray(indices, np.int64))
        epochs = np.zeros_like(rows) if chance is None else chance.epochs
        owner = self._owner(rows)
        parts: list[Packed] = []
        for number, source in enumerate(self.sources):
            here = owner == number
            drawn = self.bounds[number + 1] - self.bounds[number]
            own = (rows[here] - self.bounds[number] + epochs[here] * drawn) % len(source)
            kept = None if chance is None else Chance(chance.seed, chance.epochs[here], chance.samples[here])
            parts.append(source.take(own, kept))
        order = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
        columns = [None if column[0] is None else np.concatenate(column)[order] for column in zip(*parts, strict=True)]
        return Packed(*columns)  # type: ignore[arg-type]  # the first three are always there

    def origins(self, indices: ArrayLike) -> list[str]:
        owner = self._owner(np.atleast_1d(np.asarray(indices, np.int64)))
        return [self.sources[number].corpus.title for number in owner]

    def drawn(self, seed: int, samples: int) -> list[Drawn]:
        """What the first `samples` of a loader's samples were made of: whole epochs, and the beginning of one."""
        epochs, rest = divmod(samples, self.count)
        counts = epochs * np.diff(self.bounds)
        owner = self._owner(permuted(seed, epochs, np.arange(rest), self.count)) if rest else np.zeros(0, np.int64)
        counts = counts + np.bincount(owner, minlength=len(self.sources))
        return [_drawn(rows, count) for rows, count in zip(self.sources, counts.tolist(), strict=True)]

    def _owner(self, rows: Numbers) -> Numbers:
        return np.asarray(np.searchsorted(self.bounds, rows, side="right") - 1)
