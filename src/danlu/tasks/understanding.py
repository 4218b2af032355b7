"""Tasks about whole texts, one or two of them: a class, several classes, a number."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from danlu.data.batch import IGNORED
from danlu.tasks.framing import Framing
from danlu.tasks.task import Example, Labels, Reply, Row, Task, with_targets

Values = Mapping[str, Any]
BETWEEN = re.compile(r"\s*[|;,，；、]\s*")  # labels in one field


def fit_texts(values: Values, *roles: str) -> Values | str:
    """Texts as text. An empty second text is one; an empty first is no row."""
    found = dict(values)
    for role in roles:
        if role not in values:
            continue
        value = values[role]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "no column"
        if isinstance(value, (int, float)):
            value = str(value)
        if not isinstance(value, str):
            return "not text"
        if not value.strip() and role != "text_b":
            return "empty"
        try:
            value.encode()
        except UnicodeEncodeError:
            return "surrogate"
        found[role] = value
    return found


def framed(rows: Sequence[Row], framing: Framing) -> list[Example]:
    """Examples without targets of rows with `text`, and perhaps `text_b`."""
    first = framing.tokenizer.encode_many([row.values["text"] for row in rows])
    if not any("text_b" in row.values for row in rows):
        single = map(framing.one, first)
        return [Example(tokens, row=number, cut=cut) for number, (tokens, cut) in enumerate(single)]
    second = framing.tokenizer.encode_many([row.values.get("text_b", "") for row in rows])
    both = (framing.two(a, b) for a, b in zip(first, second, strict=True))
    return [Example(tokens, marks, row=number, cut=cut) for number, (tokens, marks, cut) in enumerate(both)]


def label_of(value: Any) -> str:
    """A class as it is named: a number without a fraction as a whole one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return " ".join(str(value).split())


def is_missing(value: Any) -> bool:
    nothing = {"", "nan", "null", "none", "n/a", "na", "-"} - {"none", "-"}
    return value is None or (isinstance(value, float) and math.isnan(value)) or label_of(value).lower() in nothing


def in_order(names: Sequence[str]) -> Labels:
    """Whole numbers by size, everything else as text."""
    unique = dict.fromkeys(names)
    try:
        return tuple(sorted(unique, key=int))
    except ValueError:
        return tuple(sorted(unique))


# classify


def fit_class(values: Values) -> Values | str:
    label = values.get("label")
    if isinstance(label, (list, dict)):
        return "not a label"
    if is_missing(label):
        return "no label"
    found = fit_texts(values, "text", "text_b")
    return found if isinstance(found, str) else dict(found) | {"label": label_of(label)}


def class_labels(rows: Sequence[Row]) -> Labels:
    return in_order([row.values["label"] for row in rows])


def encode_classes(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    ids = {label: number for number, label in enumerate(labels)}
    told = (row.values.get("label") for row in rows)
    return with_targets(framed(rows, framing), [None if label is None else ids.get(label, IGNORED) for label in told])


def whole_numbers(examples: Sequence[Example], length: int) -> Tensor:
    """(B,)"""
    return torch.tensor([example.target for example in examples])


def best_class(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels
) -> list[Reply]:
    """logits (C,)"""
    chances = torch.stack(list(logits)).softmax(-1)
    best = chances.argmax(-1).tolist()
    shares = chances.tolist()
    return [
        Reply(labels[place], share[place], dict(zip(labels, share, strict=True)))
        for place, share in zip(best, shares, strict=True)
    ]


# multilabel


def labels_of(value: Any) -> list[str] | None:
    """Several labels: a list, a JSON list, or names between |, ; or commas. None where they are something else."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    listed = value if isinstance(value, (list, tuple)) else BETWEEN.split(label_of(value))
    if any(isinstance(each, (list, dict)) for each in listed):
        return None
    return list(dict.fromkeys(label_of(each) for each in listed if not is_missing(each)))


def fit_several(values: Values) -> Values | str:
    found, labels = fit_texts(values, "text", "text_b"), labels_of(values.get("label"))
    if "label" not in values or labels is None:
        return "no label" if labels is not None else "not a label"
    return found if isinstance(found, str) else dict(found) | {"label": labels}


def several_labels(rows: Sequence[Row]) -> Labels:
    return in_order([label for row in rows for label in row.values["label"]])


def encode_several(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    targets = [[float(label in row.values.get("label", ())) for label in labels] for row in rows]
    return with_targets(framed(rows, framing), targets)


def numbers(examples: Sequence[Example], length: int) -> Tensor:
    """(B, C)"""
    return torch.tensor([example.target for example in examples], dtype=torch.float32)


def likely_classes(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels
) -> list[Reply]:
    """logits (C,) -> every class that is likelier than not."""
    found = []
    for shares in torch.stack(list(logits)).sigmoid().tolist():
        scores = dict(zip(labels, shares, strict=True))
        chosen = [label for label, share in scores.items() if share >= 0.5]
        chance = math.prod(share if share >= 0.5 else 1 - share for share in shares)
        found.append(Reply(chosen, chance, scores))
    return found


# regress


def number_of(value: Any) -> float | None:
    """A finite number, as Python or a person with a decimal comma writes it."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def fit_number(values: Values) -> Values | str:
    if is_missing(values.get("label")):
        return "no label"
    number, found = number_of(values["label"]), fit_texts(values, "text", "text_b")
    if number is None:
        return "not a number"
    return found if isinstance(found, str) else dict(found) | {"label": number}


def encode_numbers(rows: Sequence[Row], framing: Framing, labels: Labels) -> list[Example]:
    return with_targets(framed(rows, framing), [[row.values.get("label", 0.0)] for row in rows])


def the_number(
    logits: Sequence[Tensor], examples: Sequence[Example], rows: Sequence[Row], labels: Labels
) -> list[Reply]:
    """logits (1,)"""
    return [Reply(float(each[0])) for each in logits]


def reference(row: Row) -> Any:
    return row.values["label"]


CLASSIFY = Task(
    name="classify", columns=("text", "label"), optional=("text_b",), form="row", loss="labels",
    metrics=("accuracy", "macro_f1", "mcc"), fit=fit_class, labels=class_labels, encode=encode_classes,
    targets=whole_numbers, answer=best_class, reference=reference,
    en="one of several classes for a text, or for two", zh="为一段（或一对）文本选出一个类别",
)  # fmt: skip
MULTILABEL = Task(
    name="multilabel", columns=("text", "label"), optional=("text_b",), form="row", problem="several", loss="several",
    metrics=("micro_f1", "macro_f1", "accuracy"), fit=fit_several, labels=several_labels, encode=encode_several,
    targets=numbers, answer=likely_classes, reference=reference,
    en="any number of classes for a text, or for two", zh="为一段（或一对）文本选出任意多个类别",
)  # fmt: skip
REGRESS = Task(
    name="regress", columns=("text", "label"), optional=("text_b",), form="row", problem="number", loss="numbers",
    metrics=("pearson", "spearman", "squared_error"), fit=fit_number, labels=lambda rows: ("number",),
    encode=encode_numbers, targets=numbers, answer=the_number, reference=reference,
    en="a number for a text, or for two", zh="为一段（或一对）文本给出一个数值",
)  # fmt: skip
