"""Metrics of probabilities: are they as large as they ought to be?"""

import numpy as np

from danlu.tasks.metrics.labels import right
from danlu.tasks.metrics.metric import Cases, Floats, Metric, added, ratio

BINS = 15  # of equal width


def bins(cases: Cases) -> Floats:
    """(N, 3 x BINS): in the bin of its probability a row counts one, its probability, whether it was right."""
    chances = np.asarray(cases.chances, np.float64)
    place = np.clip(np.ceil(chances * BINS) - 1, 0, BINS - 1).astype(int)
    rows = np.zeros((len(chances), BINS, 3))
    rows[np.arange(len(chances)), place] = np.stack([np.ones_like(chances), chances, np.array(right(cases), float)], 1)
    return rows.reshape(len(chances), -1)


def calibration(sums: Floats) -> Floats:
    """The expected calibration error (Guo et al. 2017): how far probability and share of right answers lie apart."""
    rows, chances, hits = np.moveaxis(sums.reshape(*sums.shape[:-1], BINS, 3), -1, 0)
    return np.asarray(np.abs(hits - chances).sum(-1) / np.maximum(rows.sum(-1), 1))


def nats(cases: Cases) -> Floats:
    """(N, 2): summed nats, and over how many targets."""
    losses = np.asarray(cases.losses, np.float64)
    targets = np.asarray(cases.targets, np.float64) if len(cases.targets) else np.ones_like(losses)
    return np.stack([losses, targets], 1)


def perplexity(sums: Floats) -> Floats:
    return np.exp(np.minimum(ratio(sums), 700.0))


CHANCE_METRICS = (
    Metric("loss", "loss (nats)", "损失（nat）", larger_is_better=False, of=added(nats, ratio)),
    Metric("perplexity", "perplexity", "困惑度", "{:.2f}", larger_is_better=False, of=added(nats, perplexity)),
    Metric(
        "calibration", "calibration error", "校准误差", "{:.2%}", larger_is_better=False, of=added(bins, calibration)
    ),
)
