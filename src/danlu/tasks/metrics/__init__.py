"""Metrics by name, each equal to the definition its name stands for elsewhere."""

from collections.abc import Iterable, Mapping

from danlu.errors import DanluError, nearest
from danlu.tasks.metrics.answering import ANSWER_METRICS
from danlu.tasks.metrics.chances import CHANCE_METRICS
from danlu.tasks.metrics.labels import LABEL_METRICS
from danlu.tasks.metrics.metric import Cases as Cases
from danlu.tasks.metrics.metric import Measure as Measure
from danlu.tasks.metrics.metric import Measured as Measured
from danlu.tasks.metrics.metric import Metric as Metric
from danlu.tasks.metrics.numbers import NUMBER_METRICS
from danlu.tasks.metrics.ranking import RANK_METRICS
from danlu.tasks.metrics.tagging import TAG_METRICS
from danlu.tasks.metrics.writing import WRITING_METRICS

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *LABEL_METRICS, *NUMBER_METRICS, *TAG_METRICS, *ANSWER_METRICS, *WRITING_METRICS, *RANK_METRICS,
        *CHANCE_METRICS,
    )
}  # fmt: skip
# Everything evaluation.json may hold, in words: the metrics, and what language models are measured by.
MEASURES: Mapping[str, Measure] = {
    **METRICS,
    "bits_per_byte": Measure("bits_per_byte", "bits a byte", "每字节比特数", larger_is_better=False, dear=True),
    "masked_accuracy": Measure("masked_accuracy", "accuracy at masks", "掩码处准确率", "{:.2%}", dear=True),
    "pairs": Measure("pairs", "minimal pairs", "最小对立对", "{:.2%}", dear=True),
    "retrieval": Measure("retrieval", "translations found", "译文检索准确率", "{:.2%}", dear=True),
    "retrieval_forth": Measure("retrieval_forth", "  from the first language", "  由第一种语言检索", "{:.2%}"),
    "retrieval_back": Measure("retrieval_back", "  from the second language", "  由第二种语言检索", "{:.2%}"),
    **{
        f"{side}_r{rank}": Measure(f"{side}_r{rank}", f"{en}, R@{rank}", f"{zh} R@{rank}", "{:.2%}", dear=rank == 1)
        for side, (en, zh) in {
            "text": ("text found by picture", "以图找文"), "image": ("picture found by text", "以文找图"),
        }.items()
        for rank in (1, 5, 10)
    },
    "swapped": Measure("swapped", "  shown another picture instead", "  换成另一张图片时", "{:.2%}"),
    "prior": Measure("prior", "  without looking: the usual answer", "  不看图，只答最常见的答案", "{:.2%}"),
    "zero_shot": Measure("zero_shot", "named without training", "零样本命名准确率", "{:.2%}", dear=True),
    "probe": Measure("probe", "linear probe", "线性探针准确率", "{:.2%}", dear=True),
}  # fmt: skip


# What answers to each task can be held to, beside what it is held to anyway.
SUITED: Mapping[str, tuple[Metric, ...]] = {
    "classify": (*LABEL_METRICS, *CHANCE_METRICS), "multilabel": (*LABEL_METRICS[:3], CHANCE_METRICS[0]),
    "regress": NUMBER_METRICS, "tag": (*TAG_METRICS, CHANCE_METRICS[0]),
    "span": (*ANSWER_METRICS, *WRITING_METRICS, CHANCE_METRICS[0]), "choose": (*LABEL_METRICS, *CHANCE_METRICS),
    "retrieve": RANK_METRICS, "prefer": LABEL_METRICS,
}  # fmt: skip


def find_metrics(names: Iterable[str], task: str) -> tuple[Metric, ...]:
    """Metrics by their names. E1820 for one that a task has no use for."""
    suited = {metric.name: metric for metric in SUITED.get(task, (*WRITING_METRICS, *ANSWER_METRICS, *CHANCE_METRICS))}
    for name in names:
        if name not in suited:
            raise DanluError("E1820", found=name, possible=list(suited), nearest=nearest(name, suited), task=task)
    return tuple(suited[name] for name in names)
