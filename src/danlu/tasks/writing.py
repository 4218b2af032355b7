"""Tasks whose answer is a text: translations, summaries, descriptions, replies.

Every row is a conversation that ends with an answer. A decoder reads it as its chat template puts it and learns the
answers alone; an encoder–decoder reads all that comes before an answer and learns to write it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from danlu.data.batch import IGNORED, Batch
from danlu.settings import Settings
from danlu.tasks.task import Example, Row
from danlu.tasks.understanding import fit_texts
from danlu.text.chat import DIRECT, PLAIN, ChatTemplate, Message
from danlu.text.tokenizer import Tokenizer

Values = Mapping[str, Any]
ROLES = {
    "system": "system", "user": "user", "human": "user", "prompter": "user", "assistant": "assistant",
    "gpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip


class WritingSettings(Settings):
    """prompt: what a source is put into, `summarize: {source}`; the names in braces are columns. length: tokens of an
    answer at most. beams, length_penalty: how answers are looked for when a run is measured."""

    prompt: str = "{source}"
    length: int = 256
    beams: int = 1
    length_penalty: float = 1.0


@dataclass(frozen=True)
class Writing:
    """columns, optional, metrics, fit: as of a `Task`. messages: a row's conversation, its last part the answer; the
    rules by which a source is put are applied. talks: whether conversations may have several turns. beams: that suit
    it."""

    name: str
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    fit: Callable[[Values], Values | str]
    messages: Callable[[Values, WritingSettings], list[Message]]
    en: str
    zh: str
    optional: tuple[str, ...] = ()
    talks: bool = False
    beams: int = 1
    form: Literal["text"] = "text"
    problem: Literal["text"] = "text"

    def labels(self, rows: Sequence[Row]) -> tuple[str, ...]:
        """A text is none of several."""
        return ()

    def reference(self, row: Row) -> Any:
        """The right answer, or several."""
        several = row.values.get("references")
        return several if several else self.messages(row.values, WritingSettings())[-1].content


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
    """What conversations are written on: a tokenizer, the room of a model, and how the task puts things.

    start: the token a decoder begins with behind an encoder; None for a decoder alone.
    """

    task: Writing
    tokenizer: Tokenizer
    settings: WritingSettings
    room: int
    start: int | None = None

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


# A source and an answer


def fit_pair(values: Values) -> Values | str:
    """`target` may be several right answers, of which the first is learnt."""
    target = values.get("target")
    several = [str(each) for each in target if each and str(each).strip()] if isinstance(target, list) else None
    if several is not None:
        if not several:
            return "empty"
        values = dict(values) | {"target": several[0], "references": several}
    return fit_texts(values, "source", "target")


def question_and_answer(values: Values, settings: WritingSettings) -> list[Message]:
    return [Message("user", put(settings.prompt, values)), Message("assistant", values.get("target", ""))]


def put(prompt: str, values: Values) -> str:
    """A prompt with the names in braces replaced by what a row holds; nothing in it is computed."""
    for name, value in values.items():
        prompt = prompt.replace("{" + name + "}", str(value))
    return prompt


# Conversations


def fit_talk(values: Values) -> Values | str:
    """messages: [{role, content}], or [{from, value}]; or instruction, input and output."""
    if "messages" not in values:
        if not {"instruction", "output"} <= values.keys():
            return "no column"
        found = fit_texts(values, "instruction", "output")
        if isinstance(found, str):
            return found
        asked, more = found["instruction"], str(found.get("input") or "").strip()
        turns = [Message("user", f"{asked}\n\n{more}" if more else asked), Message("assistant", found["output"])]
        return {"messages": turns}
    listed = values["messages"]
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        return "not a conversation"
    turns = []
    for each in listed:
        role, said = ROLES.get(str(each.get("role", each.get("from"))).lower()), each.get("content", each.get("value"))
        if role is None or not isinstance(said, str):
            return "not a conversation"
        turns.append(Message(role, said))
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not turns or turns[0].role == "assistant" or not turns[-1].content.strip():
        return "no answer"
    return {"messages": turns}


def talk(values: Values, settings: WritingSettings) -> list[Message]:
    turns: list[Message] = values["messages"]
    return turns


TRANSLATE = Writing(
    "translate", ("source", "target"), ("bleu", "chrf"), fit_pair, question_and_answer,
    "a text in another language", "把文本译成另一种语言", beams=4,
)  # fmt: skip
SUMMARISE = Writing(
    "summarise", ("source", "target"), ("rouge_l", "rouge_1", "rouge_2"), fit_pair, question_and_answer,
    "what a text says, in few words", "用很少的话概括文本", beams=4,
)  # fmt: skip
DESCRIBE = Writing(
    "describe", ("source", "target"), ("bleu", "rouge_l"), fit_pair, question_and_answer,
    "data put into sentences", "把数据写成句子", beams=4,
)  # fmt: skip
CHAT = Writing(
    "chat", (), ("rouge_l",), fit_talk, talk, "replies in a conversation; only they are learnt",
    "对话中的回复（只学习回复）", ("messages", "instruction", "input", "output"), talks=True,
)  # fmt: skip
