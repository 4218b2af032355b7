"""How sure a measured mean is, and whether two runs differ: the bootstrap (Efron 1979, 1987).

Values are one number a row (a sentence, a document, a pair); where rows weigh differently (losses summed over tokens)
the mean is sum(values) / sum(weights), and whole rows are drawn, because tokens of a row are not independent.
"""

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
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

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def mapped(self, function: Any) -> "Interval":
        """Of a rising function of the value: perplexity from loss, bits from nats."""
        return Interval(function(self.value), function(self.low), function(self.high), self.count, self.level)


@dataclass(frozen=True)
class Comparison:
    """How much a second run differs from a first on the same rows."""

    difference: Interval
    verdict: Verdict


def bootstrap(
    values: ArrayLike, weights: ArrayLike | None = None, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0,
    method: Method = "bca",
) -> Interval:  # fmt: skip
    """The mean of values, or sum(values) / sum(weights), with its interval.

    values (N,), weights (N,) or None. `percentile` takes the drawn means as they are, `bca` corrects for bias and for a
    spread that changes with the mean (Efron 1987, equation 2.3). Answers all right, or all wrong, get the exact bound.
    One row, or none, has no spread: the interval is not a number at both ends.
    """
    top = np.asarray(values, np.float64)
    bottom = np.ones_like(top) if weights is None else np.asarray(weights, np.float64)
    count = len(top)
    value = _ratio(top.sum(), bottom.sum())
    if count < 2:
        return Interval(value, float("nan"), float("nan"), count, level)
    if value in (0.0, 1.0) and (bottom == 1).all() and np.isin(top, (0, 1)).all():
        reach = ((1 - level) / 2) ** (1 / count)  # nothing to draw from: the exact bound (Clopper and Pearson 1934)
        return Interval(value, reach if value else 0.0, 1.0 if value else 1 - reach, count, level)
    drawn = _drawn_means(top, bottom, draws, seed)
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        ends = _corrected(ends, drawn, value, _left_out(top, bottom))
    low, high = np.quantile(drawn, ends)
    return Interval(value, float(low), float(high), count, level)


def compare(
    first: ArrayLike, second: ArrayLike, weights: ArrayLike | None = None, *, larger_is_better: bool = True,
    level: float = LEVEL, draws: int = DRAWS, seed: int = 0,
) -> Comparison:  # fmt: skip
    """Is the second run better than the first? Both measured on the same rows, in the same order.

    A difference is only shown where its whole interval lies on one side of nothing.
    """
    difference = np.asarray(second, np.float64) - np.asarray(first, np.float64)
    interval = bootstrap(difference, weights, level=level, draws=draws, seed=seed)
    if not (interval.low > 0 or interval.high < 0):
        return Comparison(interval, "no difference shown")
    return Comparison(interval, "better" if (interval.low > 0) == larger_is_better else "worse")


def mean_of_groups(groups: list[Floats], *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0) -> Interval:
    """The mean of the groups' means, every group counting the same; rows are drawn within their groups.

    The groups are what is asked for (BLiMP's paradigms), so they are not drawn themselves.
    """
    chance = np.random.default_rng(seed)
    drawn = np.zeros(draws)
    for group in groups:
        ones = np.ones_like(group)
        drawn += _drawn_means(group, ones, draws, int(chance.integers(2**31))) / len(groups)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    value = float(np.mean([group.mean() for group in groups]))
    return Interval(value, float(low), float(high), sum(map(len, groups)), level)


def _drawn_means(top: Floats, bottom: Floats, draws: int, seed: int) -> Floats:
    """(draws,) means, each over as many rows drawn with replacement."""
    chance = np.random.default_rng(seed)
    count, means = len(top), np.empty(draws)
    if np.isin(top, (0, 1)).all() and (bottom == 1).all():  # drawing yes and no is the binomial distribution
        yes: Floats = chance.binomial(count, top.mean(), draws) / count
        return yes
    step = max(1, CELLS // count)
    for start in range(0, draws, step):
        rows = chance.integers(count, size=(min(step, draws - start), count))
        means[start : start + step] = top[rows].sum(1) / bottom[rows].sum(1)
    return means


def _left_out(top: Floats, bottom: Floats) -> Floats:
    """The mean without each row (the jackknife)."""
    rest = bottom.sum() - bottom
    means: Floats = np.divide(top.sum() - top, rest, out=np.full_like(top, top.mean()), where=rest != 0)
    return means


def _corrected(ends: Floats, drawn: Floats, value: float, left_out: Floats) -> Floats:
    """Which quantiles of the drawn means to take for the ends of the interval."""
    normal = NormalDist()
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2  # ties count half
    away = left_out.mean() - left_out
    spread = (away**2).sum() ** 1.5
    if not 0 < below < 1 or spread == 0:
        return ends
    bias, skew = normal.inv_cdf(float(below)), (away**3).sum() / (6 * spread)
    shifted = [bias + normal.inv_cdf(float(end)) for end in ends]
    return np.array([normal.cdf(bias + shift / (1 - skew * shift)) for shift in shifted])


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else float("nan")
