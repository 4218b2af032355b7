"""What a metric is: statistics a row that add up, and a value of their sum.

Because they add up, any resampling of rows is one matrix product: draws (D, N) @ statistics (N, K) -> (D, K) -> (D,).
Rank correlation alone needs the rows themselves; it takes the same draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Value = Callable[[Floats], Floats]  # sums of statistics (..., K) -> (...)


@dataclass(frozen=True)
class Measure:
    """A name of evaluation.json in words, and how its values are written. dear: shown large on top of a report."""

    name: str
    en: str
    zh: str
    form: str = "{:.4f}"
    larger_is_better: bool = True
    dear: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it lies between nothing and all."""
        return self.form.endswith("%}")

    def write(self, value: float) -> str:
        return self.form.format(value)


@dataclass(frozen=True)
class Cases:
    """What was predicted and what is right, row by row; both are of the kind a task answers: a label, a list of labels
    or tags, a number, a text, a rank. chances (N,): the probability of each prediction. losses, targets (N,): nats, and
    the number of targets they sum over (one each where not given)."""

    predictions: Sequence[Any]
    references: Sequence[Any]
    chances: Sequence[float] = ()
    losses: Sequence[float] = ()
    targets: Sequence[float] = ()

    def __len__(self) -> int:
        return max(len(self.references), len(self.losses))

    def __add__(self, other: "Cases") -> "Cases":
        """The rows of both, one after the other."""
        fields = ("predictions", "references", "chances", "losses", "targets")
        return Cases(*([*getattr(self, name), *getattr(other, name)] for name in fields))


class Measured(Protocol):
    """A metric of some rows, ready to be taken under any weights of the rows."""

    @property
    def count(self) -> int: ...

    def under(self, weights: Floats) -> Floats:
        """weights (D, N): how often each row counts -> the value of each draw (D,)."""
        ...

    def without_each(self) -> Floats | None:
        """The value without each row (N,), the jackknife; None where it would cost too much."""
        ...

    def kinds(self) -> Integers | None:
        """(N,) numbers, equal where rows count alike, so that draws need not tell them apart; None where few do."""
        ...

    def rows(self, places: Integers) -> "Measured":
        """The same metric of some of the rows."""
        ...


ROWS = 4096  # of the jackknife at once
PROBE = 1000  # rows that are looked at to see whether many count alike


@dataclass(frozen=True)
class Added:
    """Statistics (N, K), dense or sparse, and the value of their sums."""

    statistics: Floats | csr_array
    value: Value

    @property
    def count(self) -> int:
        return int(self.statistics.shape[0])

    def under(self, weights: Floats) -> Floats:
        return self.value(np.asarray(weights @ self.statistics, np.float64))

    def without_each(self) -> Floats | None:
        total = np.asarray(self.statistics.sum(0), np.float64)
        parts = [self.statistics[start : start + ROWS] for start in range(0, self.count, ROWS)]
        dense = (part.toarray() if isinstance(part, csr_array) else part for part in parts)
        return np.concatenate([self.value(total - part) for part in dense] or [np.empty(0)])

    def kinds(self) -> Integers | None:
        if isinstance(self.statistics, csr_array):
            parts, ends = self.statistics, self.statistics.indptr
            known: dict[bytes, int] = {}
            spans = ((ends[at], ends[at + 1]) for at in range(self.count))
            rows = (parts.indices[a:b].tobytes() + parts.data[a:b].tobytes() for a, b in spans)
            return np.array([known.setdefault(row, len(known)) for row in rows], np.int64)
        probe = self.statistics[:: max(1, self.count // PROBE)]
        if len(np.unique(probe, axis=0)) > len(probe) / 2:
            return None
        return np.unique(self.statistics, axis=0, return_inverse=True)[1].astype(np.int64)

    def rows(self, places: Integers) -> "Added":
        return Added(self.statistics[places], self.value)

    def each(self) -> Floats:
        """The value of each row alone (N,)."""
        parts = (self.statistics[start : start + ROWS] for start in range(0, self.count, ROWS))
        dense = (part.toarray() if isinstance(part, csr_array) else part for part in parts)
        return np.concatenate([self.value(part) for part in dense] or [np.empty(0)])


@dataclass(frozen=True)
class Metric(Measure):
    """A measure of predictions. `of` prepares it for some rows; calling it gives the plain value."""

    of: Callable[[Cases], Measured] = None  # type: ignore[assignment]  # follows fields that have defaults

    def __call__(self, predictions: Sequence[Any], references: Sequence[Any], **more: Sequence[float]) -> float:
        """The value over all rows; NaN where there is none."""
        measured = self.of(Cases(predictions, references, **more))
        return float(measured.under(np.ones((1, measured.count)))[0]) if measured.count else float("nan")


def added(statistics: Callable[[Cases], Floats | csr_array], value: Value) -> Callable[[Cases], Measured]:
    """The `of` of a metric whose statistics add up."""

    def of(cases: Cases) -> Measured:
        return Added(statistics(cases), value)

    return of


def mean_of(values: Callable[[Cases], Sequence[float] | Floats]) -> Callable[[Cases], Measured]:
    """The `of` of a plain mean of one number a row."""

    def statistics(cases: Cases) -> Floats:
        each = np.asarray(values(cases), np.float64)
        return np.stack([each, np.ones_like(each)], 1)

    return added(statistics, ratio)


def ratio(sums: Floats) -> Floats:
    """The first sum by the second; 0 where there is nothing."""
    return divided(sums[..., 0], sums[..., 1])


def divided(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, 0 where bottom is 0."""
    found: Floats = np.divide(top, bottom, out=np.zeros(np.shape(bottom)), where=bottom != 0)
    return found
