"""Tasks about whole texts: classes, several classes, numbers; of one text or two."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.tasks.framing import Framing
from danlu.tasks.task import Example, Row, Task


def framed(rows: Sequence[Row], framing: Framing) -> list[Example]:
    """Examples without targets of rows with `text`, and perhaps `text_b`."""
    first = framing.tokenizer.encode_many([str(row.values["text"]) for row in rows])
    pairs = any("text_b" in row.values for row in rows)
    if not pairs:
        single = map(framing.one, first)
        return [Example(tokens, row=number, cut=cut) for number, (tokens, cut) in enumerate(single)]
    second = framing.tokenizer.encode_many([str(row.values.get("text_b", "")) for row in rows])
    both = (framing.two(a, b) for a, b in zip(first, second, strict=True))
    return [Example(tokens, marks, row=number, cut=cut) for number, (tokens, marks, cut) in enumerate(both)]


def with_targets(examples: Sequence[Example], targets: Sequence[Any]) -> list[Example]:
    return [
        Example(each.tokens, each.segments, target, each.row, each.cut, each.places)
        for each, target in zip(examples, targets, strict=True)
    ]


def label_of(value: Any) -> str:
    """A class as it is named: numbers without a fraction as whole numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Whole numbers by size, everything else as text."""
    unique = dict.fromkeys(names)
    try:
        return tuple(sorted(unique, key=int))
    except ValueError:
        return tuple(sorted(unique))


# classify


def class_labels(rows: Sequence[Row]) -> tuple[str, ...]:
    return in_order([label_of(row.values["label"]) for row in rows])


def encode_classes(rows: Sequence[Row], framing: Framing, labels: tuple[str, ...]) -> list[Example]:
    ids = {label: number for number, label in enumerate(labels)}
    targets = [ids[label_of(row.values["label"])] if "label" in row.values else None for row in rows]
    return with_targets(framed(rows, framing), targets)


def whole_numbers(examples: Sequence[Example], length: int) -> Tensor:
    """(B,)"""
    return torch.tensor([example.target for example in examples])


def best_class(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: tuple[str, ...]
) -> list[dict[str, Any]]:
    """logits (C,) -> for each row {"label", "score", "scores"}."""
    shares = torch.stack(list(logits)).softmax(-1).tolist()
    found = []
    for share in shares:
        best = max(range(len(share)), key=share.__getitem__)
        found.append({"label": labels[best], "score": share[best], "scores": dict(zip(labels, share, strict=True))})
    return found


CLASSIFY = Task(
    name="classify", columns=("text", "label"), optional=("text_b",), form="row", loss="labels",
    metrics=("accuracy", "macro_f1"), encode=encode_classes, targets=whole_numbers, answer=best_class,
    labels=class_labels,
    en="one of several classes for a text, or for two", zh="为一段（或一对）文本选出一个类别",
)  # fmt: skip
