"""How much of the best of several results is luck: the one who is chosen for his score is overrated by it."""

from collections.abc import Sequence

import numpy as np

from danlu.evaluate.intervals import CELLS, DRAWS, LEVEL, Interval
from danlu.tasks.metrics import Measured


def chosen(
    runs: Sequence[Measured], larger_is_better: bool = True, *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """What to expect of the run that is best on these rows, on other rows.

    Each draw chooses on the rows that were drawn and measures on those that were not (bootstrap bias correction,
    Tsamardinos et al. 2018). All runs on the same rows.
    """
    rows, sign = runs[0].count, 1 if larger_is_better else -1
    chance, found = np.random.default_rng(seed), []
    step = max(1, CELLS // max(1, rows * 2))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        places = chance.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        inside = np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows).astype(float)
        outside = (inside == 0).astype(float)
        best = np.argmax([sign * run.under(inside) for run in runs], 0)
        values = np.array([run.under(outside) for run in runs])[best, np.arange(count)]
        found.append(values[outside.any(1)])
    values = np.concatenate(found)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), rows, level)


def over_runs(
    runs: Sequence[Measured], *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:  # fmt: skip
    """The mean over several runs of one recipe (seeds), with an interval for both sources of luck: runs are drawn, and
    rows are drawn. All runs on the same rows."""
    rows, total = runs[0].count, len(runs)
    chance = np.random.default_rng(seed)
    value = float(np.mean([run.under(np.ones((1, rows)))[0] for run in runs]))
    drawn, step = [], max(1, CELLS // max(1, rows))
    for start in range(0, draws, step):
        count = min(step, draws - start)
        places = chance.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        weights = np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows).astype(float)
        values = np.array([run.under(weights) for run in runs])
        picked = chance.integers(total, size=(count, total))
        drawn.append(values[picked.T, np.arange(count)].mean(0))
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), rows, level)
