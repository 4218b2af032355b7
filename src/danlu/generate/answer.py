"""A model with heads put to use: it classifies, tags, finds, chooses, compares. What `danlu.load` returns for one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from danlu.adapt import switch
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.exercise import understood
from danlu.generate.rest import at_rest
from danlu.models.classifier import AnswerConfig, Classifier
from danlu.tasks import TASKS
from danlu.tasks.answering import Work, logits_of
from danlu.tasks.tagging import WIDE
from danlu.tasks.task import Reply, Row, Task

TOKENS, ROWS = 4096, 128  # of a batch, padding included
WORDS = re.compile(rf"{WIDE.pattern}|\w+|[^\w\s]")  # wide characters and marks stand alone


@dataclass(frozen=True)
class Answerer:
    """One row in, one reply out; a list in, a list out. bf16: matrix products in that format, which is faster where
    the processor has them, and moves the last digits.

    Every method raises E1909 where the model has no head for what it is asked. What a text is too long by is in a
    reply's `cut`.
    """

    checkpoint: Checkpoint
    bf16: bool = False
    model: Classifier = field(init=False)

    def __post_init__(self) -> None:
        assert isinstance(self.checkpoint.model, Classifier)
        object.__setattr__(self, "model", self.checkpoint.model)

    @property
    def heads(self) -> Mapping[str, AnswerConfig]:
        return self.model.config.heads

    def use(self, adapter: str | None) -> None:
        """Let one of the model's adapters work, or none. E2012 where there is none of that name."""
        switch(self.model, adapter)

    def classify(self, texts: Any, seconds: Any = None) -> Any:
        """The likeliest label of a text, or of a text and a second one; of a model for several labels, all that are
        likelier than not. `scores` has them all."""
        several = any(head.problem == "several" for head in self.heads.values())
        return self._each("multilabel" if several else "classify", texts, seconds)

    def regress(self, texts: Any, seconds: Any = None) -> Any:
        """A number for a text, or for a text and a second one."""
        return self._each("regress", texts, seconds)

    def tag(self, texts: Any) -> Any:
        """[(word, tag)] of a text, or of a list of words as they are; lists of either give lists."""
        alone = isinstance(texts, str)
        rows = [Row({"tokens": WORDS.findall(text) if isinstance(text, str) else list(text)}) for text in
                ([texts] if alone else texts)]  # fmt: skip
        replies = self.answer("tag", rows)
        tagged = [
            list(zip(row.values["tokens"], reply.value, strict=True)) for row, reply in zip(rows, replies, strict=True)
        ]
        return tagged[0] if alone else tagged

    def find(self, question: str, context: str) -> Reply:
        """The part of a text that answers a question; "" where it does not."""
        return self.answer("span", [Row({"question": question, "context": context})])[0]

    def choose(self, text: str, choices: Sequence[str]) -> Reply:
        """Which of several texts fits: its number from 0."""
        return self.answer("choose", [Row({"text": text, "choices": list(choices)})])[0]

    def embed(self, texts: Any) -> Tensor:
        """Vectors of length one, by which texts are compared: (D,) for one text, (N, D) for many."""
        alone = isinstance(texts, str)
        replies = self.answer("retrieve", [Row({"text": text}) for text in ([texts] if alone else texts)])
        vectors = torch.tensor([reply.value for reply in replies])
        return vectors[0] if alone else vectors

    def answer(self, task: str, rows: Sequence[Row], head: str | None = None) -> list[Reply]:
        """What a head says to rows of a task; by the head's name where several are of one kind."""
        work = self.work(TASKS[task], head)
        examples = work.encode(rows)
        if not examples:
            return []
        loader = work.loader(examples, ROWS, tokens=TOKENS, asked=False)
        with at_rest(self.model) as device, torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            replies = work.answers(logits_of(self.model, work, examples, loader), examples, rows)
        cut = dict.fromkeys(range(len(rows)), 0)
        for example in examples:
            cut[example.row] += example.cut
        return [reply._replace(cut=cut[number]) for number, reply in enumerate(replies)]

    def work(self, task: Task, head: str | None = None) -> Work:
        """The task as this model does it."""
        fitting = {
            name: found for name, found in self.heads.items()
            if (found.form, found.problem) == (task.form, task.problem) and head in (None, name)
        }  # fmt: skip
        if not fitting:
            possible = [f"{name} ({found.form}, {found.problem})" for name, found in self.heads.items()]
            raise DanluError("E1909", found=head or task.name, possible=possible)
        return understood(self.checkpoint, task, next(iter(fitting)))

    def _each(self, task: str, texts: Any, seconds: Any) -> Any:
        alone = isinstance(texts, str)
        first = [texts] if alone else list(texts)
        second = [seconds] if isinstance(seconds, str) else seconds
        values: list[dict[str, Any]] = [{"text": text} for text in first]
        if second is not None:
            values = [{"text": a, "text_b": b} for a, b in zip(first, second, strict=True)]
        replies = self.answer(task, [Row(each) for each in values])
        return replies[0] if alone else replies
