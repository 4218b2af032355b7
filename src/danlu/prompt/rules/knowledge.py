"""What is known of tasks before any data: two tables, written by hand, read once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from danlu.errors import Language


@dataclass(frozen=True)
class Forms:
    """What a class is called (names), what stands for it alone (words), and what its texts say (texts)."""

    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def of(self, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """The forms of these kinds, each once; names where it has none of them."""
        found = tuple(dict.fromkeys(form for kind in kinds for form in getattr(self, kind)))
        return found or self.names


@dataclass(frozen=True)
class Label:
    """A class that the lexicon knows."""

    name: str
    also: tuple[str, ...]
    forms: Mapping[Language, Forms] = field(default_factory=dict)


@dataclass(frozen=True)
class Pattern:
    """One way of asking. say: the forms that fit its gap."""

    name: str
    template: Mapping[Language, str]
    say: tuple[str, ...]


@cache
def lexicon() -> Mapping[str, tuple[Label, ...]]:
    """kind of task -> its labels."""
    return {
        kind: tuple(Label(str(name), _strings(entry.get("also")), _forms(entry)) for name, entry in labels.items())
        for kind, labels in _table("lexicon.yaml").items()
    }


@cache
def patterns() -> Mapping[str, tuple[Pattern, ...]]:
    """kind of task -> its patterns."""
    return {
        kind: tuple(
            Pattern(f"{kind}.{name}", {"en": entry["en"], "zh": entry["zh"]}, _strings(entry["say"]))
            for name, entry in entries.items()
        )
        for kind, entries in _table("patterns.yaml").items()
    }


def _forms(entry: Mapping[str, Any]) -> dict[Language, Forms]:
    languages: tuple[Language, ...] = ("en", "zh")
    return {
        each: Forms(*(_strings(entry[each].get(kind)) for kind in ("names", "words", "texts")))
        for each in languages if each in entry
    }  # fmt: skip


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value or ()))


def _table(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(
        files("danlu.prompt.rules").joinpath(name).read_text(encoding="utf8")
    )
    return found
