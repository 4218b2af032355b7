"""Rows of several sources in fixed proportions: languages, domains."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from danlu.data.order import Chance
from danlu.data.packing import Packed, Rows


def shares(sizes: Sequence[int], exponent: float) -> NDArray[np.float64]:
    """How often each source is drawn: q_i = p_i^a / sum_j p_j^a (Lample, Conneau 2019, 3.1).

    1: as much as there is of it; 0: all alike; XLM used 0.7, mBERT and XLM-R 0.7 and 0.3.
    """
    powers = (np.array(sizes) / sum(sizes)) ** exponent
    return np.asarray(powers / powers.sum())


class MixedRows(Rows):
    """As many rows in an epoch as there are in all, `shares` of them from each source.

    A source that is drawn more often than it has rows begins again; one that is drawn less often goes on in the next
    epoch where it stopped in this one. All sources are packed alike.
    """

    def __init__(self, sources: Sequence[Rows], portions: Sequence[float]):
        self.sources = list(sources)
        self.corpus, self.length = sources[0].corpus, sources[0].length
        self.frame, self.ahead = sources[0].frame, sources[0].ahead
        self.count, self.full = sum(map(len, sources)), sum(rows.full for rows in sources)
        bounds = np.round(np.cumsum([0.0, *portions]) / sum(portions) * self.count).astype(np.int64)
        self.bounds = bounds

    def take(self, indices: ArrayLike, chance: Chance | None = None) -> Packed:
        """The rows of these numbers; those of one source stand together in the numbering."""
        rows = np.atleast_1d(np.asarray(indices, np.int64))
        epochs = np.zeros_like(rows) if chance is None else chance.epochs
        owner = np.searchsorted(self.bounds, rows, side="right") - 1
        parts: list[Packed] = []
        for number, source in enumerate(self.sources):
            here = owner == number
            drawn = self.bounds[number + 1] - self.bounds[number]
            own = (rows[here] - self.bounds[number] + epochs[here] * drawn) % len(source)
            kept = None if chance is None else Chance(chance.seed, chance.epochs[here], chance.samples[here])
            parts.append(source.take(own, kept))
        order = np.argsort(np.argsort(owner, kind="stable"), kind="stable")
        columns = [np.concatenate(column)[order] for column in list(zip(*parts, strict=True))[:3]]
        return Packed(*columns)
