"""Metrics of retrieval: a prediction is the rank of what was looked for, 1 for the first."""

from collections.abc import Callable

from danlu.tasks.metrics.metric import Cases, Metric, mean_of


def within(k: int) -> Callable[[Cases], list[bool]]:
    """Whether the right one is among the first k."""

    def values(cases: Cases) -> list[bool]:
        return [int(rank) <= k for rank in cases.predictions]

    return values


def reciprocal(cases: Cases) -> list[float]:
    return [1 / int(rank) for rank in cases.predictions]


RANK_METRICS = (
    Metric("recall_at_1", "recall at 1", "前 1 召回率", "{:.2%}", dear=True, of=mean_of(within(1))),
    Metric("recall_at_5", "recall at 5", "前 5 召回率", "{:.2%}", of=mean_of(within(5))),
    Metric("recall_at_10", "recall at 10", "前 10 召回率", "{:.2%}", of=mean_of(within(10))),
    Metric("mrr", "mean reciprocal rank", "平均倒数排名", of=mean_of(reciprocal)),
)
