"""How sure a measured value is, and whether two runs differ: the bootstrap (Efron 1979, 1987) and random swaps.

A metric is taken under weights of its rows (`tasks.metrics`), so two thousand drawn sets of rows are one matrix
product. Whole rows are drawn (a sentence, a document, a pair), because tokens of a row are not independent. Rows that
count alike are drawn as one kind: of two classes there are four kinds of rows, however many rows.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from danlu.tasks.metrics.metric import Added, Floats, Integers, Measured

Method = Literal["bca", "percentile"]
Verdict = Literal["better", "worse", "no difference shown"]
LEVEL, DRAWS = 0.95, 2000
CELLS = 2**22  # of drawn values held at once


@dataclass(frozen=True)
class Interval:
    """A value and the range it lies in at this level of confidence, from `count` rows."""

    value: float
    low: float
    high: float
    count: int
    level: float = LEVEL

    @property
    def known(self) -> bool:
        """Whether there is a range at all: one row has no spread."""
        return self.low <= self.high

    def plain(self) -> dict[str, Any]:
        """Plain data; ends that are not known are left out."""
        return {name: value for name, value in asdict(self).items() if self.known or name not in ("low", "high")}

    def mapped(self, function: Any) -> "Interval":
        """Of a rising function of the value: perplexity from loss, bits from nats."""
        return Interval(function(self.value), function(self.low), function(self.high), self.count, self.level)


@dataclass(frozen=True)
class Comparison:
    """How much a second run differs from a first on the same rows. chance: how often runs that are equally good would
    differ as much."""

    difference: Interval
    verdict: Verdict
    chance: float


def interval(
    measured: Measured, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0, method: Method = "bca",
    share: bool = True,
) -> Interval:  # fmt: skip
    """The value of a metric with its interval.

    `percentile` takes the drawn values as they are, `bca` corrects for bias and for a spread that changes with the
    value (Efron 1987, equation 2.3), where leaving out each row is cheap. Where every row is right, or wrong, there is
    nothing to draw from: the exact bound of a `share` (Clopper and Pearson 1934). One row, or none, has no spread: the
    interval is not a number at both ends.
    """
    count = measured.count
    value = float(measured.under(np.ones((1, count)))[0]) if count else float("nan")
    if count < 2 or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), count, level)
    drawn = _drawn(measured, draws, seed)
    if share and value in (0.0, 1.0) and (drawn == value).all():
        reach = ((1 - level) / 2) ** (1 / count)
        return Interval(value, reach if value else 0.0, 1.0 if value else 1 - reach, count, level)
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    left_out = measured.without_each() if method == "bca" else None
    if left_out is not None:
        ends = _corrected(ends, drawn, value, left_out)
    low, high = np.quantile(drawn, ends)
    return Interval(value, float(low), float(high), count, level)


def difference(
    both: Measured, *, larger_is_better: bool = True, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Is the second run better than the first? both: the rows of the first, then the same rows of the second.

    Rows are drawn for both alike (the paired bootstrap), and answers are swapped between the runs at random (Noreen
    1989), as they could be if the runs were equally good. A difference is shown where its whole interval lies on one
    side of nothing and swaps seldom reach it: with few rows that differ, the first alone is too easily convinced.
    """
    rows = both.count // 2
    half = np.repeat([[1.0, 0.0], [0.0, 1.0]], rows, axis=1)
    first, second = both.under(half)
    value = float(second - first)
    if rows < 2:
        return Comparison(Interval(value, float("nan"), float("nan"), rows, level), "no difference shown", 1.0)
    both, counts = _paired(both)
    drawn, swapped = np.empty(draws), np.empty(draws)
    for part, weights in _weights(counts, draws, seed, CELLS // 4):
        none = np.zeros_like(weights)
        drawn[part] = both.under(np.hstack([none, weights])) - both.under(np.hstack([weights, none]))
    chance = np.random.default_rng([seed, 1])
    for start in range(0, draws, step := max(1, CELLS // 4 // len(counts))):
        swap = chance.binomial(counts, 0.5, (min(step, draws - start), len(counts))).astype(float)
        kept = counts - swap
        swapped[start : start + step] = both.under(np.hstack([swap, kept])) - both.under(np.hstack([kept, swap]))
    reached = (1 + (np.abs(swapped) >= abs(value) - 1e-12).sum()) / (1 + draws)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    found = Interval(value, float(low), float(high), rows, level)
    if not (found.low > 0 or found.high < 0) or reached > 1 - level:
        return Comparison(found, "no difference shown", float(reached))
    return Comparison(found, "better" if (value > 0) == larger_is_better else "worse", float(reached))


def bootstrap(
    values: ArrayLike, weights: ArrayLike | None = None, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0,
    method: Method = "bca",
) -> Interval:  # fmt: skip
    """The mean of values (N,), or sum(values) / sum(weights), with its interval."""
    return interval(_mean(values, weights), level=level, draws=draws, seed=seed, method=method)


def compare(
    first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None, *, larger_is_better: bool = True,
    level: float = LEVEL, draws: int = DRAWS, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Is the mean of the second values better than that of the first? Both of the same rows, in the same order."""
    both = _mean(np.concatenate([first, second]), None if weights is None else np.concatenate([weights, weights]))
    return difference(both, larger_is_better=larger_is_better, level=level, draws=draws, seed=seed)


def mean_of_groups(groups: list[Floats], *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean of the groups' means, every group counting the same; rows are drawn within their groups.

    The groups are what is asked for (BLiMP's paradigms), so they are not drawn themselves.
    """
    chance = np.random.default_rng(seed)
    drawn = np.zeros(draws)
    for group in groups:
        drawn += _drawn(_mean(group), draws, int(chance.integers(2**31))) / len(groups)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = float(np.mean([group.mean() for group in groups]))
    return Interval(value, float(low), float(high), sum(map(len, groups)), level)


def _mean(values: ArrayLike, weights: ArrayLike | None = None) -> Added:
    top = np.asarray(values, np.float64)
    bottom = np.ones_like(top) if weights is None else np.asarray(weights, np.float64)
    return Added(np.stack([top, bottom], 1), _ratio)


def _ratio(sums: Floats) -> Floats:
    """Not a number where nothing was weighed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def _drawn(measured: Measured, draws: int, seed: int) -> Floats:
    """(draws,) values, each of as many rows drawn with replacement."""
    kinds = measured.kinds()
    counts = np.ones(measured.count, np.int64)
    if kinds is not None:
        _, places, counts = np.unique(kinds, return_index=True, return_counts=True)
        measured = measured.rows(places)
    found = np.empty(draws)
    for part, weights in _weights(counts, draws, seed, CELLS):
        found[part] = measured.under(weights)
    return found


def _paired(both: Measured) -> tuple[Measured, Integers]:
    """Two runs of which pairs of rows that count alike stand once, and how many pairs each stands for."""
    rows, kinds = both.count // 2, both.kinds()
    if kinds is None:
        return both, np.ones(rows, np.int64)
    pairs = kinds[:rows] * (kinds.max() + 1) + kinds[rows:]
    _, places, counts = np.unique(pairs, return_index=True, return_counts=True)
    return both.rows(np.concatenate([places, places + rows])), counts


def _weights(counts: Integers, draws: int, seed: int, cells: int) -> Iterator[tuple[slice, Floats]]:
    """How often each kind of row is drawn, for some draws at a time: (D, kinds). counts: rows of each kind."""
    chance, kinds, rows = np.random.default_rng(seed), len(counts), int(counts.sum())
    step = max(1, cells // kinds)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        if kinds < rows:
            drawn = chance.multinomial(rows, counts / rows, count)
        else:
            places = chance.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
            drawn = np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows)
        yield slice(start, start + count), drawn.astype(np.float64)


def _corrected(ends: Floats, drawn: Floats, value: float, left_out: Floats) -> Floats:
    """Which quantiles of the drawn values to take for the ends of the interval."""
    normal = NormalDist()
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2  # ties count half
    away = left_out.mean() - left_out
    spread = (away**2).sum() ** 1.5
    if not 0 < below < 1 or not spread > 0:
        return ends
    bias, skew = normal.inv_cdf(float(below)), (away**3).sum() / (6 * spread)
    shifted = [bias + normal.inv_cdf(float(end)) for end in ends]
    return np.array([normal.cdf(bias + shift / (1 - skew * shift)) for shift in shifted])
