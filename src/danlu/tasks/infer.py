"""From columns to a task, and why."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.errors import Both, DanluError, nearest
from danlu.tasks.reading import Table
from danlu.tasks.understanding import BETWEEN, is_missing, label_of, number_of

# Roles by the names that columns usually have; earlier names count more.
USUAL: Mapping[str, tuple[str, ...]] = {
    "text": (
        "text", "sentence1", "sentence", "sentence_a", "text_a", "question1", "premise", "query", "review", "content",
        "comment", "tweet", "title", "body", "文本", "文本一", "句子", "句子一", "内容", "评论", "正文", "标题",
    ),
    "text_b": (
        "text_b", "sentence2", "sentence_b", "question2", "hypothesis", "passage", "positive", "文本二", "句子二",
    ),
    "label": (
        "label", "labels", "class", "category", "sentiment", "intent", "topic", "stars", "rating", "score", "target",
        "gold_label", "y", "标签", "类别", "情感", "分数", "评分",
    ),
    "negative": ("negative", "hard_negative"),
    "tokens": ("tokens", "words", "form", "词", "字"),
    "tags": ("tags", "ner_tags", "upos", "pos_tags", "ner", "pos", "bio", "labels", "标签"),
    "question": ("question", "问题"),
    "context": ("context", "passage", "paragraph", "上下文", "段落"),
    "answers": ("answers", "answer", "答案"),
    "answer_start": ("answer_start",),
    "choices": ("choices", "options", "candidates", "endings", "选项"),
    "source": ("source", "src", "原文"),
    "target": ("target", "tgt", "summary", "translation", "ref", "译文", "摘要"),
    "instruction": ("instruction", "prompt", "指令"),
    "output": ("output", "response", "completion", "回答"),
    "messages": ("messages", "conversations", "conversation", "对话"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
}  # fmt: skip
# Columns that are one option each, to be read as a list.
SERIES = (("ending0", "ending1"), ("choice1", "choice2"), ("choice0", "choice1"), ("option_a", "option_b"),
          ("option1", "option2"), ("A", "B"))  # fmt: skip
# What tasks are known by, from the surest sign to the least: roles that must be there.
SIGNS: Sequence[tuple[str, tuple[str, ...]]] = (
    ("prefer", ("chosen", "rejected")), ("chat", ("messages",)), ("chat", ("instruction", "output")),
    ("tag", ("tokens", "tags")), ("span", ("question", "context", "answers")), ("choose", ("choices",)),
    ("translate", ("source", "target")),
)  # fmt: skip
MANY = 20  # whole numbers that differ; from here on they are amounts rather than names of classes
LONG = 50  # characters of a label
IDS = re.compile(r"(^|[^a-z])(id|idx|index|no|编号|序号)$", re.IGNORECASE)


@dataclass(frozen=True)
class Inferred:
    """A task, which column plays which role, and the reasons in words. series: columns that are options of a choice."""

    task: str
    columns: Mapping[str, str]
    reasons: tuple[Both, ...] = ()
    series: tuple[str, ...] = field(default=())


def infer(table: Table, task: str | None, given: Mapping[str, str], where: Any) -> Inferred:
    """E1203 where a column that was named is not there; E1901 where nothing fits, or more than one thing."""
    names = [str(name) for name in table.names]
    for theirs in given.values():
        if theirs not in names:
            raise DanluError("E1203", where=where, name=theirs, possible=names, nearest=nearest(theirs, names))
    roles = {role: _usual(role, names) for role in USUAL} | dict(given)
    found = {role: name for role, name in roles.items() if name is not None}
    series = _series(names)
    if task is None:
        for name, signs in SIGNS:
            if all(sign in found for sign in signs) or (name == "choose" and series):
                return _with_columns(name, found, given, series, table, where)
    return _with_columns(task, found, given, series, table, where)


# The roles each task takes, beside those it can do without.
TAKES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "classify": (("text", "label"), ("text_b",)), "multilabel": (("text", "label"), ("text_b",)),
    "regress": (("text", "label"), ("text_b",)), "tag": (("tokens", "tags"), ()),
    "span": (("question", "context", "answers"), ("answer_start",)), "choose": (("text", "choices", "label"), ()),
    "retrieve": (("text", "text_b"), ("negative",)), "translate": (("source", "target"), ()),
    "summarise": (("source", "target"), ()), "describe": (("source", "target"), ()),
    "chat": (("messages",), ()), "prefer": (("chosen", "rejected"), ("text",)),
}  # fmt: skip


def _with_columns(
    task: str | None, found: dict[str, str], given: Mapping[str, str], series: tuple[str, ...], table: Table, where: Any
) -> Inferred:
    if task in (None, "classify", "multilabel", "regress", "choose", "retrieve"):
        found = _texts_and_label(task, found, given, table, where)
    if task == "choose":
        if "label" not in found and "answers" in found:
            found["label"] = found["answers"]
        if "text" not in found and "question" in found:
            found["text"] = found["question"]
    kind, reason = _by_answers(found, table) if task is None else (task, Both(f"task={task}", f"task={task}"))
    if kind == "prefer" and (asked := found.get("instruction", found.get("question"))):
        found = {"text": asked} | found
    needed, optional = TAKES.get(kind, ((), ()))
    if kind == "chat" and "messages" not in found:
        needed, optional = ("instruction", "output"), ("input",)
        found |= {"input": "input"} if "input" in table.names else {}
    columns = {role: found[role] for role in (*needed, *optional) if role in found}
    missing = [role for role in needed if role not in columns and not (role == "choices" and series)]
    if missing:
        raise DanluError("E1901", where=where, found=table.names, task=kind, missing=missing)
    return Inferred(kind, columns, (reason,), series if kind == "choose" and "choices" not in columns else ())


def _by_answers(found: Mapping[str, str], table: Table) -> tuple[str, Both]:
    """What the answers look like."""
    if "label" not in found:
        return "retrieve", Both("two texts and no label", "有两段文本而没有标签")
    name = found["label"]
    values = [value for value in table.column(name) if not is_missing(value)]
    if any(isinstance(value, (list, tuple)) for value in values) or _are_lists(values):
        return "multilabel", Both(f"{name} holds several labels", f"{name} 一行有多个标签")
    numbers = [number_of(value) for value in values]
    if values and all(number is not None for number in numbers):
        whole = all(number == int(number) for number in numbers if number is not None)
        kinds = len(set(numbers))
        if not whole and kinds > 2:
            return "regress", Both(f"{name} holds numbers with fractions", f"{name} 是带小数的数")
        if whole and kinds > MANY and kinds > len(values) / 100:
            return "regress", Both(f"{name} holds {kinds} different numbers", f"{name} 有 {kinds} 个不同的数")
    kinds = len({label_of(value) for value in values})
    return "classify", Both(f"{name} holds {kinds} different labels", f"{name} 有 {kinds} 种标签")


def _are_lists(values: Sequence[Any]) -> bool:
    """Whether texts are lists: parts between marks come again in other combinations."""
    texts = [value for value in values if isinstance(value, str)]
    several = [value for value in texts if BETWEEN.search(value) or value.strip().startswith("[")]
    if len(several) < max(1, len(texts) / 20):
        return False
    parts = {part for value in texts for part in BETWEEN.split(value)}
    return len(parts) < len(set(texts)) and all(len(part) <= LONG for part in parts)


def _usual(role: str, names: Sequence[str]) -> str | None:
    lowered = {name.strip().lower(): name for name in names}
    return next((lowered[usual] for usual in USUAL[role] if usual in lowered), None)


def _series(names: Sequence[str]) -> tuple[str, ...]:
    """Columns that are numbered, or lettered, options."""
    for first, second in SERIES:
        if first in names and second in names:
            stem, start = first[:-1], first[-1]
            following = (f"{stem}{chr(ord(start) + number)}" for number in range(10))
            return tuple(name for name in following if name in names)
    return ()


def _texts_and_label(
    task: str | None, found: dict[str, str], given: Mapping[str, str], table: Table, where: Any
) -> dict[str, str]:
    """The columns of text and label by what they hold, where their names do not say."""
    found, names = dict(found), [str(name) for name in table.names]
    taken = {found[role] for role in ("text", "text_b", "label") if role in found} | set(given.values())
    free = [name for name in names if name not in taken and not IDS.search(name)]
    texts = [name for name in free if _is_text(table.column(name))]
    labels = [name for name in free if name not in texts and _repeats(table.column(name))]
    if "label" in found and "label" not in given and found["label"] in (found.get("text"), found.get("text_b")):
        del found["label"]
    if "text" not in found:
        if len(texts) == 2 and "text_b" not in found:
            found |= {"text": texts[0], "text_b": texts[1]}
        elif len(texts) == 1:
            found["text"] = texts[0]
        elif len(texts) > 1:
            raise DanluError("E1907", where=where, role="text", possible=texts)
    wanted = task != "retrieve" and not (task is None and "text_b" in found and not labels)
    if "label" not in found and wanted:
        if len(labels) > 1:
            raise DanluError("E1907", where=where, role="label", possible=labels)
        found |= {"label": labels[0]} if labels else {}
    return found


def _is_text(values: Sequence[Any]) -> bool:
    there = [value for value in values if isinstance(value, str) and value.strip()]
    if len(there) < len(values) / 2 or not there:
        return False
    return len(set(there)) > 0.6 * len(there) and sum(map(len, there)) / len(there) > 8 and not _numeric(there)


def _repeats(values: Sequence[Any]) -> bool:
    """Whether a column may hold labels: few values that come again, or numbers."""
    there = [str(value) for value in values if not is_missing(value)]
    return bool(there) and (len(set(there)) <= max(2, len(there) / 3) or _numeric(there))


def _numeric(values: Sequence[str]) -> bool:
    return all(number_of(value) is not None for value in values)
