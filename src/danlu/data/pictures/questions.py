"""What is asked about pictures: columns of questions and answers, or conversations as LLaVA's files have them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from danlu.data.pictures.settings import PictureSettings
from danlu.errors import DanluError, nearest

Question = tuple[str, str]  # what is asked, nothing where the picture is to be described; and the answer

QUESTION_COLUMNS = ("question", "questions", "query", "问题", "提问")
ANSWER_COLUMNS = ("answer", "answers", "multiple_choice_answer", "reply", "response", "答案", "回答")
TALK_COLUMNS = ("conversations", "messages")
PLACEHOLDER = "<image>"  # where a picture stands in such a conversation; here it is always in front


@dataclass(frozen=True)
class Asking:
    """The columns of a question and its answer, or of a whole conversation."""

    question: str
    answer: str = ""

    @property
    def name(self) -> str:
        return f"{self.question}, {self.answer}" if self.answer else self.question

    def __call__(self, values: Mapping[str, Any]) -> tuple[Question, ...]:
        """Of one row; nothing where an answer is missing. Several questions come with as many answers."""
        asked = values.get(self.question)
        if not self.answer:
            return _turns(asked)
        told = values.get(self.answer)
        if isinstance(asked, (list, tuple)):
            several = told if isinstance(told, (list, tuple)) and len(told) == len(asked) else ()
            pairs = [(_text(each), _text(answer)) for each, answer in zip(asked, several, strict=False)]
        else:
            pairs = [(_text(asked), _agreed(told))]
        return tuple(pair for pair in pairs if pair[1])


def asking(settings: PictureSettings, names: Sequence[str], where: str) -> Asking | None:
    """Where questions stand among columns, where they do. E1203 for one named and not there."""
    for wanted in (settings.question, settings.answer):
        if wanted != "auto" and wanted not in names:
            raise DanluError("E1203", where=where, name=wanted, possible=names, nearest=nearest(wanted, names))
    if settings.text != "auto" and settings.question == settings.answer == "auto":
        return None
    question = _first(settings.question, QUESTION_COLUMNS, names)
    answer = _first(settings.answer, ANSWER_COLUMNS, names)
    if question and answer:
        return Asking(question, answer)
    talk = _first("auto", TALK_COLUMNS, names)
    return Asking(talk) if talk else None


def _first(wanted: str, known: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in (known if wanted == "auto" else (wanted,)) if name in names), None)


def _text(value: Any) -> str:
    """White space is one space; numbers are read as they are written."""
    return " ".join(str(value).split()) if isinstance(value, (str, int, float)) else ""


def _agreed(value: Any) -> str:
    """An answer, or that which most of several people gave."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    texts = [_text(each.get("answer") if isinstance(each, Mapping) else each) for each in listed]
    counted = Counter(text for text in texts if text)
    return counted.most_common(1)[0][0] if counted else ""


def _turns(talk: Any) -> tuple[Question, ...]:
    """[{from, value}] or [{role, content}]: each answer with what was asked right before it."""
    found: list[Question] = []
    asked = ""
    for turn in talk if isinstance(talk, (list, tuple)) else ():
        if not isinstance(turn, Mapping):
            return ()
        said = _text(turn.get("value", turn.get("content"))).replace(PLACEHOLDER, "").strip()
        if turn.get("from", turn.get("role")) in ("gpt", "assistant"):
            found += [(asked, said)] if said else []
        else:
            asked = said
    return tuple(found)
