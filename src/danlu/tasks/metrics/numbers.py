"""Metrics of numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from danlu.tasks.metrics.metric import Cases, Floats, Integers, Measured, Metric, added, divided, mean_of


def both(cases: Cases) -> tuple[Floats, Floats]:
    """Predictions and references (N,) each."""
    return np.asarray(cases.predictions, np.float64), np.asarray(cases.references, np.float64)


def moments(cases: Cases) -> Floats:
    """(N, 6): one, x, y, xx, yy, xy of values brought near zero, so that sums of squares lose no digits."""
    x, y = (_standard(each) for each in both(cases))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], 1)


def pearson(sums: Floats) -> Floats:
    """The correlation of two lists; 0 where one of them never changes."""
    count, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0)
    tiny = spread <= 1e-24 * np.maximum(count, 1) ** 4
    return divided(count * xy - x * y, np.where(tiny, 0.0, np.sqrt(spread)))


@dataclass(frozen=True)
class Ranked:
    """Spearman's correlation: Pearson's of the ranks, which change with every draw."""

    x: Floats
    y: Floats

    @property
    def count(self) -> int:
        return len(self.x)

    def under(self, weights: Floats) -> Floats:
        x, y = (_ranks(each, weights) for each in (self.x, self.y))
        sums = [weights, *(weights * each for each in (x, y, x * x, y * y, x * y))]
        return pearson(np.stack([each.sum(1) for each in sums], -1))

    def without_each(self) -> Floats | None:
        return None

    def kinds(self) -> Integers | None:
        return None

    def rows(self, places: Integers) -> "Ranked":
        return Ranked(self.x[places], self.y[places])


def ranked(cases: Cases) -> Measured:
    return Ranked(*both(cases))


def _ranks(values: Floats, weights: Floats) -> Floats:
    """(D, N) ranks between -1 and 1 in each draw; equal values share the mean of theirs."""
    order: NDArray[np.intp]
    _, order = np.unique(values, return_inverse=True)
    groups = np.zeros((len(weights), int(order.max(initial=-1)) + 1))
    np.add.at(groups.T, order, weights.T)
    ends = groups.cumsum(1)
    middle = ends - (groups - 1) / 2
    return np.asarray(2 * middle / (ends[:, -1:] + 1) - 1)[:, order]


def _standard(values: Floats) -> Floats:
    if not len(values):
        return values
    away = values - values.mean()
    spread = float(away.std())
    # a constant list keeps rounding errors of its mean and no more
    return away / spread if spread > 1e-12 * max(1.0, float(np.abs(values).max())) else np.zeros_like(away)


def squared(cases: Cases) -> Floats:
    x, y = both(cases)
    return np.asarray((x - y) ** 2)


def absolute(cases: Cases) -> Floats:
    x, y = both(cases)
    return np.abs(x - y)


NUMBER_METRICS = (
    Metric("pearson", "Pearson correlation", "皮尔逊相关系数", dear=True, of=added(moments, pearson)),
    Metric("spearman", "Spearman correlation", "斯皮尔曼相关系数", of=ranked),
    Metric("squared_error", "mean squared error", "均方误差", "{:.4g}", larger_is_better=False, of=mean_of(squared)),
    Metric(
        "absolute_error", "mean absolute error", "平均绝对误差", "{:.4g}", larger_is_better=False, of=mean_of(absolute)
    ),
)
