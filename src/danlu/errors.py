"""Numbered errors in English and Chinese.

`errors.yaml` is the catalogue: a code, what is wrong, how to mend it, and a longer explanation. Code raises
`DanluError("E1203", where="reviews.csv", found=..., possible=..., name="label")`; the facts fill the catalogue's text.
The number says the room: 10 the command, 11 settings, 12 data, 13 text, 14 models and weights, 15 training,
16 checkpoints and resuming, 17 memory and disk, 18 evaluation and generation.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml

Language = Literal["en", "zh"]

WORDS: dict[Language, dict[str, str]] = {
    "en": {"where": "where", "found": "found", "possible": "possible", "mend": "mend", "nearest": "did you mean"},
    "zh": {"where": "位置", "found": "实际", "possible": "可选", "mend": "修正", "nearest": "是否想写"},
}
COLON: dict[Language, str] = {"en": ": ", "zh": "："}
COMMA: dict[Language, str] = {"en": ", ", "zh": "、"}


@cache
def catalogue() -> dict[str, dict[str, dict[Language, str]]]:
    """code -> {"title" | "mend" | "explain" -> {"en" | "zh" -> text}}."""
    text = files("danlu").joinpath("errors.yaml").read_text(encoding="utf8")
    entries: dict[str, dict[str, dict[Language, str]]] = yaml.safe_load(text)
    return entries


class Both(NamedTuple):
    """A fact that reads differently in the two languages."""

    en: str
    zh: str


class _Given(dict[str, str]):
    """The facts of an error; one that was not given shows its own name."""

    def __missing__(self, name: str) -> str:
        return f"‹{name}›"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name a typo most likely meant, if any is near."""
    matches = get_close_matches(name[:80], list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def shown(value: Any, language: Language = "en", limit: int = 300) -> str:
    """A fact as text, never longer than a few lines."""
    if isinstance(value, Both):
        text = value.zh if language == "zh" else value.en
    elif isinstance(value, (list, tuple, set, frozenset, dict)) and not isinstance(value, str):
        items = list(value)
        text = COMMA[language].join([*map(str, items[:20]), *([f"… ({len(items)})"] if len(items) > 20 else [])])
    else:
        text = str(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


class DanluError(Exception):
    """A failure with a number: what is wrong, where, what was found, what was possible, and the mend."""

    def __init__(
        self, code: str, *, where: Any = None, found: Any = None, possible: Any = None, nearest: str | None = None,
        **facts: Any,
    ):  # fmt: skip
        super().__init__(code)
        self.code = code
        self.where, self.found, self.possible, self.nearest = where, found, possible, nearest
        self.facts = facts

    def text(self, part: str, language: Language) -> str:
        facts = self.facts | {"where": self.where, "found": self.found, "possible": self.possible}
        given = _Given({name: shown(value, language) for name, value in facts.items() if value is not None})
        return catalogue()[self.code][part][language].format_map(given)

    def render(self, language: Language | None = None) -> str:
        """Several lines in one language; without one, the title stands in both."""
        tongue = language or "en"
        titles = [self.text("title", each) for each in ((language,) if language else ("zh", "en"))]
        lines = [f"{self.code} {' / '.join(titles)}"]
        for fact in ("where", "found", "possible", "nearest"):
            if (value := getattr(self, fact)) is not None and value != "":
                lines.append(f"  {WORDS[tongue][fact]}{COLON[tongue]}{shown(value, tongue)}")
        lines.append(f"  {WORDS[tongue]['mend']}{COLON[tongue]}{self.text('mend', tongue)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.render()

    def __reduce__(self) -> tuple[Any, ...]:  # so that a worker process can hand one to its parent
        state = {"where": self.where, "found": self.found, "possible": self.possible, "nearest": self.nearest}
        return _rebuilt, (self.code, state | self.facts)


class Problems(DanluError):
    """Several errors found before anything was loaded, listed together."""

    def __init__(self, problems: Sequence[DanluError]):
        super().__init__("E1000", count=len(problems))
        self.problems = list(problems)

    def render(self, language: Language | None = None) -> str:
        tongue = language or "en"
        title = f"{self.code} {self.text('title', tongue)}{COLON[tongue].rstrip()}"
        return "\n".join([title, *(problem.render(language) for problem in self.problems)])

    def __reduce__(self) -> tuple[Any, ...]:
        return Problems, (self.problems,)


def raise_all(problems: Sequence[DanluError]) -> None:
    """Raise nothing, the one problem, or all of them together."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Problems(problems)


def _rebuilt(code: str, state: dict[str, Any]) -> DanluError:
    return DanluError(code, **state)
