"""What was said so far, and how it is put to the model that answers next."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from danlu.checkpoint import Checkpoint
from danlu.generate.exercise import texts_of, written
from danlu.tasks import WRITING
from danlu.tasks.paper import Paper
from danlu.tasks.writing import CHAT, WritingSettings, put
from danlu.text.chat import Message


@dataclass
class Conversation:
    """Turns of a model that answers; of one that answers each text by itself (a translator), the last alone."""

    paper: Paper
    said: list[Message] = field(default_factory=list)

    @property
    def talks(self) -> bool:
        """Whether earlier turns count."""
        return self.paper.task.talks

    def ask(self, text: str, length: int) -> tuple[list[int], int]:
        """What the model reads before it answers a text, and how many tokens its answer may have, `length` at most. The
        earliest turns are left out where there is no room for them."""
        paper = replace(
            self.paper,
            settings=self.paper.settings.model_copy(update={"length": max(1, min(length, self.paper.room // 2))}),
        )
        told = self.said if self.talks else []
        asked = text if self.talks else put(paper.settings.prompt, {"source": text})
        while True:
            prompt, lost = paper.prompt([*told, Message("user", asked)])
            if not lost or not told:
                break
            told = _shorter(told)
        room = paper.room - len(prompt) if paper.start is None else paper.room
        return prompt, max(1, min(length, room))

    def heard(self, text: str, reply: str) -> None:
        """Keep a question and its answer."""
        if self.talks:
            self.said += [Message("user", text), Message("assistant", reply)]

    def begin(self, system: str = "") -> None:
        """Forget what was said. system: how the model shall behave, where its template has a place for that."""
        self.said = [Message("system", system)] if system else []


def conversation_of(checkpoint: Checkpoint, talks: bool | None = None) -> Conversation | None:
    """The conversation a model was trained for: by a run here, or, as its chat template says, elsewhere; None for one
    that goes on from texts. talks: whether there shall be one all the same; plainly put where there is no template."""
    tokenizer = checkpoint.tokenizer
    if talks is False or not checkpoint.config.causal or tokenizer is None or "end" not in tokenizer.special:
        return None
    if told := next(iter(texts_of(checkpoint.lineage).values()), None):
        return Conversation(written(checkpoint, WRITING[told[0]], told[1]))
    if tokenizer.chat_template or talks:
        return Conversation(written(checkpoint, CHAT, WritingSettings()))
    return None


def _shorter(told: Sequence[Message]) -> list[Message]:
    """Without the earliest question and its answer; what the system was told stays."""
    first = 1 if told[0].role == "system" else 0
    return [*told[:first], *told[first + 2 :]] if len(told) > first else []
