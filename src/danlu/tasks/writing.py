"""Tasks whose answer is a text: translations, summaries, descriptions, replies.

Every row is a conversation that ends with an answer; `paper` says how a model reads and learns it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from danlu.settings import Settings
from danlu.tasks.task import Row
from danlu.tasks.understanding import fit_texts
from danlu.text.chat import Message

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
