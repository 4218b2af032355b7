"""From predictions to what a report shows: measures with intervals, and where the model goes wrong."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from danlu.evaluate.intervals import Comparison, difference, interval
from danlu.evaluate.predictions import Prediction, cases, check_same_rows
from danlu.tasks.metrics import METRICS, Metric
from danlu.tasks.metrics.chances import BINS
from danlu.tasks.metrics.labels import names_of
from danlu.tasks.metrics.metric import Added
from danlu.tasks.metrics.tagging import entities

Plain = dict[str, Any]
WORST, MOST_LABELS, MOST_VALUES, GROUPS = 20, 25, 40, 4


def wanted(task: str, metrics: Sequence[str], predictions: Sequence[Prediction]) -> tuple[Metric, ...]:
    """The task's metrics and what goes without saying: the loss, and whether probabilities can be trusted."""
    names = list(metrics)
    if all(each.loss is not None for each in predictions) and task not in ("regress", "retrieve"):
        names.append("loss")
    if all(each.chance is not None for each in predictions) and task in ("classify", "choose"):
        names.append("calibration")
    return tuple(METRICS[name] for name in dict.fromkeys(names))


def measured(metrics: Iterable[Metric], predictions: Sequence[Prediction], seed: int = 0) -> list[Plain]:
    """A row of evaluation.json for each metric: name, value, low, high, count, level."""
    given = cases(predictions)
    return [{"name": each.name} | interval(each.of(given), seed=seed, share=each.is_share).plain() for each in metrics]


def compared(
    metrics: Iterable[Metric], first: Sequence[Prediction], second: Sequence[Prediction], seed: int = 0
) -> dict[str, Comparison]:
    """The second run against the first, row by row. E1821 where they did not answer the same rows."""
    check_same_rows(first, second)
    both = cases(first) + cases(second)
    found = {}
    for metric in metrics:
        if metric.name in ("loss", "perplexity") and len(both.losses) < len(both.references):
            continue  # one of them does not know every label
        found[metric.name] = difference(metric.of(both), larger_is_better=metric.larger_is_better, seed=seed)
    return found


def details(
    task: str, predictions: Sequence[Prediction], metric: Metric, slices: Sequence[str] = (), seed: int = 0
) -> Plain:
    """Where a model goes wrong: the worst rows, labels apart, confusions, calibration, tables by length and columns."""
    found: Plain = {"worst": worst(predictions, metric), "slices": {"length": by_length(predictions, metric, seed)}}
    for name in slices:
        groups = [each.columns.get(name, "") for each in predictions]
        found["slices"][name] = _groups(
            predictions, groups, metric, seed, dict(Counter(groups).most_common(MOST_VALUES))
        )
    if task in ("classify", "choose"):
        found["confusion"] = confusion(predictions)
    if task in ("classify", "choose", "multilabel", "tag"):
        found["labels"] = by_label(task, predictions)
    if task in ("classify", "choose") and all(each.chance is not None for each in predictions):
        found["calibration"] = calibration(predictions)
    return found


def worst(predictions: Sequence[Prediction], metric: Metric) -> list[Plain]:
    """The rows whose right answer cost most, with their place; where nobody knows what it cost, those that the metric
    holds to be worst, with what it says of each alone."""
    costly = sorted((each for each in predictions if each.loss is not None), key=lambda each: -(each.loss or 0))[:WORST]
    if costly or not isinstance(measured := metric.of(cases(predictions)), Added):
        return [_told(each) for each in costly]
    alone = measured.each()
    order = np.argsort(alone if metric.larger_is_better else -alone, kind="stable")[:WORST]
    return [_told(predictions[at]) | {"score": float(alone[at])} for at in order]


def _told(each: Prediction) -> Plain:
    """A row for people: tagged entities by their words."""
    found: Plain = {name: getattr(each, name) for name in ("file", "line", "text", "chance", "loss")}
    for name in ("prediction", "reference"):
        value = getattr(each, name)
        tagged = isinstance(value, list) and any(str(tag)[1:2] == "-" for tag in [*each.prediction, *each.reference])
        found[name] = named_entities(value, each.text.split(" ")) if tagged else value
    return found


def named_entities(tags: Sequence[str], words: Sequence[str]) -> list[str]:
    """`LOC New York`, `PER Li Wei`."""
    return [f"{kind} {' '.join(words[first : last + 1])}" for kind, first, last in entities(tags)] or ["—"]


def by_length(predictions: Sequence[Prediction], metric: Metric, seed: int = 0) -> list[Plain]:
    """The metric for rows from short to long, about as many in each group."""
    lengths = np.array([each.length for each in predictions])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)[1:]).round().astype(int))
    place = np.searchsorted(edges, lengths)
    low = [int(lengths.min()), *(int(edge) + 1 for edge in edges[:-1])]
    names = [f"{a}–{b}" if a < b else f"{a}" for a, b in zip(low, edges.tolist(), strict=True)]
    return _groups(predictions, [names[at] for at in place], metric, seed, names)


def _groups(
    predictions: Sequence[Prediction], groups: Sequence[str], metric: Metric, seed: int, order: Iterable[str]
) -> list[Plain]:
    found = []
    for name in order:
        some = [each for each, group in zip(predictions, groups, strict=True) if group == name]
        if some:
            found.append(
                {"group": name} | interval(metric.of(cases(some)), draws=1000, seed=seed, share=metric.is_share).plain()
            )
    return found


def by_label(task: str, predictions: Sequence[Prediction]) -> list[Plain]:
    """Precision, recall and F1 of each label (of each type of entity), the most frequent first."""
    split = _types if task == "tag" else _labels
    right, said, true = Counter[str](), Counter[str](), Counter[str]()
    for each in predictions:
        ours, theirs = split(each.prediction), split(each.reference)
        right.update(name for name, _ in ours & theirs)
        said.update(name for name, _ in ours)
        true.update(name for name, _ in theirs)
    rows = []
    for name in sorted(true | said, key=lambda name: (-true[name], name)):
        both = said[name] + true[name]
        rows.append({
            "label": name, "count": true[name], "precision": right[name] / said[name] if said[name] else None,
            "recall": right[name] / true[name] if true[name] else None, "f1": 2 * right[name] / both,
        })  # fmt: skip
    return rows


def _labels(value: Any) -> set[tuple[str, Any]]:
    return {(name, 0) for name in names_of(value)}


def _types(tags: Sequence[str]) -> set[tuple[str, Any]]:
    """Entities by type; plain tags (parts of speech) by themselves."""
    if any(tag[:2] in ("B-", "I-", "S-", "E-", "M-") for tag in tags) or set(tags) <= {"O"}:
        return {(kind, (first, last)) for kind, first, last in entities(tags)}
    return {(tag, place) for place, tag in enumerate(tags)}


def confusion(predictions: Sequence[Prediction]) -> Plain:
    """labels (L), counts (L, L): rows are right answers, columns what was said; rare labels taken together as `…`."""
    pairs = Counter((str(each.reference), str(each.prediction)) for each in predictions)
    often = Counter(name for each in predictions for name in (str(each.reference), str(each.prediction)))
    kept = [name for name, _ in often.most_common(MOST_LABELS)]
    labels = sorted(kept) + (["…"] if len(often) > len(kept) else [])
    place = {name: at for at, name in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for (right, said), count in pairs.items():
        counts[place.get(right, -1), place.get(said, -1)] += count
    return {"labels": labels, "counts": counts.tolist()}


def calibration(predictions: Sequence[Prediction]) -> list[Plain]:
    """For each bin of the probability that holds a row: its mean, the share of right answers, and how many rows."""
    chances = np.array([each.chance for each in predictions], float)
    hits = np.array([each.right for each in predictions], float)
    place = np.clip(np.ceil(chances * BINS) - 1, 0, BINS - 1).astype(int)
    found = []
    for at in np.unique(place):
        here = place == at
        found.append(
            {"chance": float(chances[here].mean()), "right": float(hits[here].mean()), "count": int(here.sum())}
        )
    return found


def unseen(predictions: Sequence[Prediction], labels: Sequence[str]) -> Mapping[str, int]:
    """Right answers that training never saw, and how many rows have them."""
    known = set(labels)
    return Counter(name for each in predictions for name in names_of(each.reference) if known and name not in known)
