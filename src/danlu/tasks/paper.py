"""What conversations are written on: rows of tokens, in which answers are learnt and everything else is read.

A decoder reads a conversation as its chat template puts it and learns the answers alone; an encoder–decoder reads all
that comes before an answer and learns to write it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from danlu.data.batch import IGNORED, Batch
from danlu.tasks.loader import TaskLoader
from danlu.tasks.task import Example, Row
from danlu.tasks.writing import Writing, WritingSettings
from danlu.text.chat import DIRECT, PLAIN, ChatTemplate, Message
from danlu.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Copy(Example):
    """A text to write. tokens: what is read; with a decoder, all that is written, too. target: of a decoder which of
    them are asked for, of an encoder–decoder what it should write."""

    @property
    def length(self) -> int:
        """Tokens of both sides."""
        return len(self.tokens) + (len(self.target) if self.pair else 0)

    @property
    def pair(self) -> bool:
        return not self.target or not isinstance(self.target[0], bool)


@dataclass(frozen=True)
class Paper:
    """What a task is written on: a tokenizer, the room of a model, and how the task puts things.

    start: the token a decoder begins with behind an encoder; None for a decoder alone.
    """

    task: Writing
    tokenizer: Tokenizer
    settings: WritingSettings
    room: int
    start: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """A text is none of several."""
        return ()

    @cached_property
    def specials(self) -> tuple[str, ...]:
        """What may stand in no text: a model would take it for a mark."""
        return tuple(self.tokenizer.roles.values())

    def is_marked(self, row: Row) -> bool:
        """Whether a row's text holds a special token, by which it could pass for somebody else's words."""
        said = [message.content for message in self.task.messages(row.values, self.settings)]
        return any(token in text for token in self.specials for text in said)

    @cached_property
    def template(self) -> ChatTemplate:
        return ChatTemplate.of(self.tokenizer, PLAIN if self.task.talks else DIRECT)

    @property
    def pad(self) -> int:
        return self.tokenizer.special.get("pad", self.tokenizer.special.get("end", 0))

    @property
    def end(self) -> int:
        """What ends an answer."""
        return self.tokenizer.special["end"]

    def prompt(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """What the model reads before it answers, and how many tokens found no room, which are the earliest."""
        if self.start is not None:
            return self._source(messages)
        ids = self.tokenizer.encode(self.template.render(messages, ask=True))
        prefix = self._prefix(ids)
        kept = ids[-max(1, self.room - self.settings.length - len(prefix)) :]
        return [*prefix, *kept], len(ids) - len(kept)

    def encode(self, rows: Sequence[Row]) -> list[Example]:
        """One example a row; of a conversation with an encoder–decoder, one an answer."""
        return self.written([self.task.messages(row.values, self.settings) for row in rows])

    def written(self, conversations: Sequence[Sequence[Message]], last: bool = False) -> list[Example]:
        """Examples of conversations; last: only the last answer of each is asked for."""
        return (self._whole if self.start is None else self._pairs)(conversations, last)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Rows padded on the right, with marks only where they are needed: a decoder never looks there."""
        if self.start is None:
            tokens = _filled([example.tokens for example in examples], self.pad)
            asked = _filled([[int(each) for each in example.target] for example in examples], 0).bool()
            targets = torch.where(asked, tokens, IGNORED)
            return Batch({"tokens": tokens[:, :-1]}, {"tokens": targets[:, 1:].contiguous()})
        sources, answers = [example.tokens for example in examples], [example.target for example in examples]
        targets = _filled(answers, IGNORED)
        begun = _filled([[self.start, *answer[:-1]] for answer in answers], self.pad)
        inputs = {"source": _filled(sources, self.pad), "target": begun}
        if len({len(source) for source in sources}) > 1:
            inputs["source_valid"] = _filled([[1] * len(source) for source in sources], 0).bool()
        return Batch(inputs, {"tokens": targets})

    def loader(
        self, examples: Sequence[Example], rows: int, seed: int = 0, *, tokens: int | None = None,
        shuffle: bool = False,
    ) -> TaskLoader:  # fmt: skip
        return TaskLoader(examples, self.collate, rows, seed, tokens=tokens, shuffle=shuffle)

    def _whole(self, conversations: Sequence[Sequence[Message]], last: bool) -> list[Example]:
        """For a decoder: everything in one row, what is answered marked."""
        template = self.template
        parted = [template.stretches(messages) for messages in conversations]
        texts = ["".join(part.text for part in parts) for parts in parted]
        found: list[Example] = []
        encoded = self.tokenizer.encode_with_offsets(texts)
        for number, (parts, (ids, spans)) in enumerate(zip(parted, encoded, strict=True)):
            spots: list[tuple[int, int]] = []
            at = 0
            for part in parts:
                if part.answered:
                    spots.append((at, at + len(part.text)))
                at += len(part.text)
            spots = spots[-1:] if last else spots
            asked = [any(begin < stop <= end for begin, end in spots) for _, stop in spans]
            before = self._prefix(ids)
            over = len(before) + len(ids) - self.room
            early = max(0, min(over, asked.index(True) if True in asked else over))  # of the prompt first
            kept = slice(early, early + self.room - len(before))
            found.append(Copy([*before, *ids[kept]], target=[False] * len(before) + asked[kept], row=number,
                              cut=max(0, over)))  # fmt: skip
        return found

    def _prefix(self, ids: Sequence[int]) -> list[int]:
        """What a tokenizer sets before a text, unless the template has done so."""
        prefix = list(self.tokenizer.prefix)
        return [] if ids[: len(prefix)] == prefix else prefix

    def _pairs(self, conversations: Sequence[Sequence[Message]], last: bool) -> list[Example]:
        """For an encoder–decoder: what comes before each answer, and the answer."""
        found: list[Example] = []
        for number, messages in enumerate(conversations):
            answers = [place for place, message in enumerate(messages) if message.role == "assistant"]
            for place in answers[-1:] if last else answers:
                source, lost = self._source(messages[:place])
                ids = self.tokenizer.encode(messages[place].content)
                framed = self.tokenizer.frame(ids[: max(1, self.settings.length - 2)])
                answer = framed if framed[-1:] == [self.end] else [*framed, self.end]
                cut = lost + max(0, len(ids) - max(1, self.settings.length - 2))
                found.append(Copy(source, target=answer, row=number, cut=cut))
        return found

    def _source(self, messages: Sequence[Message]) -> tuple[list[int], int]:
        """All that comes before an answer, framed; of several turns the last ones, of one its beginning."""
        if len(messages) == 1:
            ids = self.tokenizer.encode(messages[0].content)
            kept = ids[: max(1, self.room - len(self.tokenizer.frame([])))]
        else:
            ids = self.tokenizer.encode(self.template.render(messages))
            kept = ids[-max(1, self.room - len(self.tokenizer.frame([]))) :]
        return self.tokenizer.frame(kept) or [self.pad], len(ids) - len(kept)


def _filled(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    """(B, T), padded on the right."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
