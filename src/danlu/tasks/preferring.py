"""Answers that people prefer to others: two to each question (Rafailov et al. 2023)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from danlu.data.batch import Batch
from danlu.tasks.paper import Paper
from danlu.tasks.task import Example, Row
from danlu.tasks.writing import Writing, WritingSettings, fit_talk, put
from danlu.text.chat import Message

Values = Mapping[str, Any]
BOTH = ("chosen", "rejected")


@dataclass(frozen=True)
class Preference(Example):
    """tokens, target: those of the better answer and of the worse, as of a `Copy`. places: how likely the model held
    the two to be before it was trained, in nats; once they are known."""

    @property
    def length(self) -> int:
        return max(map(len, self.tokens)) + (0 if isinstance(self.target[0][0], bool) else max(map(len, self.target)))

    @property
    def options(self) -> list[list[int]]:
        return [list(each) for each in self.tokens]


def fit_preference(values: Values) -> Values | str:
    """chosen and rejected: answers to `text`; or whole conversations, of which only the last part differs."""
    talks = []
    for name in BOTH:
        told = values.get(name)
        if isinstance(told, str):
            told = [{"role": "user", "content": values.get("text")}, {"role": "assistant", "content": told}]
        found = fit_talk({"messages": told})
        if isinstance(found, str):
            return found
        talks.append(found["messages"])
    if talks[0][:-1] != talks[1][:-1]:
        return "two questions"
    if talks[0] == talks[1]:
        return "no difference"
    return {"messages": talks[0][:-1], **{name: talk[-1] for name, talk in zip(BOTH, talks, strict=True)}}


def better(values: Values, settings: WritingSettings) -> list[Message]:
    """The conversation with the better answer; a question of one text is put as the prompt says."""
    return _with(values, settings, "chosen")


def _with(values: Values, settings: WritingSettings, name: str) -> list[Message]:
    asked: list[Message] = list(values["messages"])
    if len(asked) == 1:
        asked = [Message(asked[0].role, put(settings.prompt, {"source": asked[0].content}))]
    return [*asked, values[name]]


@dataclass(frozen=True)
class Preferences(Paper):
    """Paper for two answers to each question."""

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """A row's two answers, side by side."""
        sides = [self.written([_with(row.values, self.settings, name) for row in rows], last=True) for name in BOTH]
        return [
            Preference([a.tokens, b.tokens], target=[a.target, b.target], row=a.row, cut=a.cut + b.cut)
            for a, b in zip(*sides, strict=True)
        ]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Rows of two: every tensor is (B, 2, ...). targets: tokens, and `before` (B, 2), what `places` hold."""
        pairs = [Example(each.tokens[side], target=each.target[side]) for each in examples for side in (0, 1)]
        flat = super().collate(pairs)
        before = torch.tensor([example.places or (0.0, 0.0) for example in examples])
        inputs = {name: _paired(tensor) for name, tensor in flat.inputs.items()}
        return Batch(inputs, {"tokens": _paired(flat.targets["tokens"]), "before": before})


def _paired(rows: torch.Tensor) -> torch.Tensor:
    """(2 B, ...) -> (B, 2, ...)"""
    return rows.view(-1, 2, *rows.shape[1:])


PREFER = Writing(
    "prefer", BOTH, ("accuracy",), fit_preference, better, "the better of two answers made more likely",
    "让两个回答中较好的一个更可能出现", ("text",), talks=True,
)  # fmt: skip
