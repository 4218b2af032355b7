"""Tasks that look at several texts at once: which of several endings, and which text belongs to which."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.tasks.framing import Framing
from danlu.tasks.task import Example, Labels, Reply, Row, Task
from danlu.tasks.understanding import fit_texts, is_missing, label_of, whole_numbers

# choose


def fit_choices(values: Mapping[str, Any]) -> Mapping[str, Any] | str:
    """choices: a list of texts. label: which of them, by its number from 0, its letter, or its text."""
    found, choices = fit_texts(values, "text"), values.get("choices")
    if isinstance(choices, str) and choices.strip().startswith("["):
        try:
            choices = json.loads(choices)
        except ValueError:
            return "not a label"
    if isinstance(found, str) or not isinstance(choices, (list, tuple)) or len(choices) < 2:
        return found if isinstance(found, str) else "no choices"
    named = [label_of(choice) for choice in choices]
    if any(is_missing(choice) for choice in choices):
        return "no choices"
    if is_missing(values.get("label")):
        return "no label"
    place = _which(label_of(values["label"]), named)
    return "not a label" if place is None else dict(found) | {"choices": named, "label": place}


def _which(label: str, choices: Sequence[str]) -> int | None:
    if label in choices:
        return choices.index(label)
    if label.isdecimal():
        return int(label) if int(label) < len(choices) else None
    place = ord(label.upper()) - ord("A") if len(label) == 1 else -1
    return place if 0 <= place < len(choices) else None


def encode_choices(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    texts = framing.tokenizer.encode_many([row.values["text"] for row in rows])
    flat = iter(framing.tokenizer.encode_many([each for row in rows for each in row.values["choices"]]))
    found = []
    for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
        both = [framing.two(text, next(flat)) for _ in row.values["choices"]]
        tokens, marks = [each[0] for each in both], [each[1] for each in both]
        cut = max(each[2] for each in both)
        found.append(Example(tokens, marks, row.values.get("label"), number, cut))
    return found


def best_choice(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels
) -> list[Reply]:
    """logits (K,), those of missing choices left out."""
    found = []
    for logit, row in zip(logits, rows, strict=True):
        choices = row.values["choices"]
        chances = logit[: len(choices)].softmax(0).tolist()
        place = max(range(len(chances)), key=chances.__getitem__)
        found.append(Reply(place, chances[place], dict(zip(choices, chances, strict=True))))
    return found


# retrieve


def fit_pair(values: Mapping[str, Any]) -> Mapping[str, Any] | str:
    found = fit_texts(values, "text", "text_b", "negative")
    if not isinstance(found, str) and not str(found["text_b"]).strip():
        return "empty"
    return found


def encode_pairs(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    roles = [role for role in ("text", "text_b", "negative") if any(role in row.values for row in rows)]
    columns = [framing.tokenizer.encode_many([row.values.get(role, "") for row in rows]) for role in roles]
    found = []
    for number, texts in enumerate(zip(*columns, strict=True)):
        framed = [framing.one(text) for text in texts]
        tokens = framed[0][0] if len(framed) == 1 else [each for each, _ in framed]
        found.append(Example(tokens, None, 0, number, sum(cut for _, cut in framed)))
    return found


def ranks(vectors: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels) -> list[Reply]:
    """vectors (K, D) -> at which place each query's own text stands among those of all rows, 1 for the nearest; equal
    texts count as one. Without second texts, the vectors (D,) themselves."""
    if vectors and vectors[0].ndim == 1:
        return [Reply(vector.tolist()) for vector in vectors]
    stacked = torch.stack(list(vectors))
    queries, others = stacked[:, 0], stacked[:, 1]
    scores = queries @ others.T
    texts = [row.values["text_b"] for row in rows]
    same = torch.tensor([[one == other for other in texts] for one in texts]) if len(texts) <= 5000 else None
    own = scores.diagonal()[:, None]
    nearer = scores > own
    if same is not None:
        nearer &= ~same
    return [Reply(1 + int(count), float(score)) for count, score in zip(nearer.sum(1), own[:, 0], strict=True)]


CHOOSE = Task(
    name="choose", columns=("text", "choices", "label"), form="choice", loss="choices", metrics=("accuracy",),
    fit=fit_choices, labels=lambda rows: (), encode=encode_choices, targets=whole_numbers, answer=best_choice,
    reference=lambda row: row.values["label"],
    en="which of several texts fits", zh="从几个选项中选出合适的一个",
)  # fmt: skip
RETRIEVE = Task(
    name="retrieve", columns=("text", "text_b"), optional=("negative",), form="vector", loss="pairs_of_texts",
    metrics=("recall_at_1", "recall_at_5", "mrr"), fit=fit_pair, labels=lambda rows: (), encode=encode_pairs,
    targets=whole_numbers, answer=ranks, reference=lambda row: 1,
    en="vectors by which texts that belong together are found", zh="把相关文本找到一起的句向量",
)  # fmt: skip
