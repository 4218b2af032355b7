"""Metrics of classes: one label a row, or several."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from danlu.tasks.metrics.metric import Cases, Floats, Metric, added, divided, mean_of


def names_of(value: Any) -> Collection[str]:
    """A row's labels as a set: of one label, or of a list of them."""
    return {str(each) for each in value} if isinstance(value, (list, tuple, set, frozenset)) else {str(value)}


def right(cases: Cases) -> list[bool]:
    """Whether each row's labels are exactly the right ones."""
    return [names_of(p) == names_of(r) for p, r in zip(cases.predictions, cases.references, strict=True)]


def overlap(cases: Cases) -> csr_array:
    """(N, 3 C): of each class, whether it was found rightly, found wrongly, or missed."""
    rows = [(names_of(p), names_of(r)) for p, r in zip(cases.predictions, cases.references, strict=True)]
    place = {name: 3 * at for at, name in enumerate(sorted({name for row in rows for side in row for name in side}))}
    columns = [
        [*(place[name] for name in p & r), *(place[name] + 1 for name in p - r), *(place[name] + 2 for name in r - p)]
        for p, r in ((set(p), set(r)) for p, r in rows)
    ]
    return _ones(columns, 3 * len(place))


def totals(cases: Cases) -> Floats:
    """(N, 3): the same over all classes."""
    rows = ((set(names_of(p)), set(names_of(r))) for p, r in zip(cases.predictions, cases.references, strict=True))
    return np.array([(len(p & r), len(p - r), len(r - p)) for p, r in rows], float).reshape(-1, 3)


def f1(sums: Floats) -> Floats:
    """(..., 3) found rightly, found wrongly, missed -> the harmonic mean of precision and recall; 0 where none."""
    hit = 2 * sums[..., 0]
    return divided(hit, hit + sums[..., 1] + sums[..., 2])


def macro_f1(sums: Floats) -> Floats:
    """(..., 3 C) -> the mean over the classes that occur, as scikit-learn takes it."""
    by_class = sums.reshape(*sums.shape[:-1], -1, 3)
    return divided(f1(by_class).sum(-1), (by_class.sum(-1) > 0).sum(-1).astype(float))


def counts(cases: Cases) -> csr_array:
    """(N, 2 C + 2): the right class, the predicted one, whether they are the same, and one."""
    pairs = [(str(r), str(p)) for p, r in zip(cases.predictions, cases.references, strict=True)]
    place = {name: at for at, name in enumerate(sorted({name for pair in pairs for name in pair}))}
    size = len(place)
    columns = [[place[r], size + place[p], *([2 * size] if r == p else []), 2 * size + 1] for r, p in pairs]
    return _ones(columns, 2 * size + 2)


def matthews(sums: Floats) -> Floats:
    """Matthews' correlation of several classes (Gorodkin 2004); 0 where one side is always the same class."""
    size = sums.shape[-1] // 2 - 1
    true, said, hit, all_ = sums[..., :size], sums[..., size : 2 * size], sums[..., -2], sums[..., -1]
    spread = (all_**2 - (true**2).sum(-1)) * (all_**2 - (said**2).sum(-1))
    return divided(hit * all_ - (true * said).sum(-1), np.sqrt(np.maximum(spread, 0)))


def _ones(columns: Sequence[Sequence[int]], width: int) -> csr_array:
    ends = np.cumsum([0, *map(len, columns)])
    flat = np.fromiter((at for row in columns for at in row), np.int64, ends[-1])
    return csr_array((np.ones(len(flat)), flat, ends), shape=(len(columns), width))


LABEL_METRICS = (
    Metric("accuracy", "accuracy", "准确率", "{:.2%}", dear=True, of=mean_of(right)),
    Metric("macro_f1", "macro F1", "宏平均 F1", "{:.2%}", of=added(overlap, macro_f1)),
    Metric("micro_f1", "micro F1", "微平均 F1", "{:.2%}", of=added(totals, f1)),
    Metric("mcc", "Matthews correlation", "马修斯相关系数", of=added(counts, matthews)),
)
