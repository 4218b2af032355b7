"""From columns to a task, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.errors import Both, DanluError, nearest
from danlu.tasks.reading import Table

# Columns by the roles their usual names mean; earlier names count more.
USUAL: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "sentence1", "sentence", "sentence_a", "text_a", "question1", "premise", "review", "content", "title",
             "comment", "tweet", "文本", "句子", "内容", "评论", "正文", "标题"),
    "text_b": ("text_b", "sentence2", "sentence_b", "question2", "hypothesis", "文本二", "句子二"),
    "label": ("label", "labels", "class", "category", "sentiment", "intent", "topic", "stars", "rating", "score", "target",
              "y", "gold_label", "coarse", "标签", "类别", "情感", "分数"),
}  # fmt: skip


@dataclass(frozen=True)
class Inferred:
    """A task, which column plays which role, and the reasons in words."""

    task: str
    columns: Mapping[str, str]
    reasons: tuple[Both, ...] = ()


def infer(table: Table, task: str | None, given: Mapping[str, str], where: Any) -> Inferred:
    """E1203 where a column that was named is not there; E1901 where no task fits."""
    names = table.names
    for theirs in given.values():
        if theirs not in names:
            raise DanluError("E1203", where=where, name=theirs, possible=names, nearest=nearest(theirs, names))
    columns = dict(given)
    for role in ("label", "text", "text_b"):
        if role not in columns and (found := _usual(role, names, set(columns.values()))):
            columns[role] = found
    if "label" not in columns or "text" not in columns:
        raise DanluError("E1901", where=where, found=names)
    return Inferred(task or "classify", columns)


def _usual(role: str, names: Sequence[str], taken: set[str]) -> str | None:
    lowered = {name.strip().lower(): name for name in names if name not in taken}
    return next((lowered[usual] for usual in USUAL[role] if usual in lowered), None)
