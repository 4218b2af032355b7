"""What is known of a task before there is a prompt, and the rules that find it out: its kind, its language, what its
labels mean."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from danlu.prompt.rules.knowledge import Forms, Label, lexicon
from danlu.settings import Settings
from danlu.tasks.task import Row

Kind = Literal[
    "any", "topic", "sentiment", "rating", "subjectivity", "question", "emotion", "inference", "same", "spam",
    "toxicity", "pair", "picture",
]  # fmt: skip
PAIRS: frozenset[str] = frozenset({"inference", "same"})
KNOWN = 0.6  # the share of labels that a kind has to know
WIDE = re.compile(r"[\u3400-\u9fff]")
INNER = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\-./:\s]+")
PARENT = re.compile(r"^([^:/]+)[:/]+(.+)$")


class Brief(Settings):
    """kind: of task. labels: class -> what it means, in words. fields: those of a row. rules: what found this out."""

    kind: Kind
    labels: dict[str, str] = Field(min_length=2)
    fields: tuple[str, ...] = ("text",)
    language: Literal["en", "zh"] = "en"
    rules: tuple[str, ...] = ()

    @property
    def pair(self) -> bool:
        return "text_b" in self.fields

    @property
    def forms(self) -> dict[str, Forms]:
        """What stands for each class, in the brief's language: from the lexicon where it knows the label, its own name
        otherwise."""
        return {name: self._forms(meaning) for name, meaning in self.labels.items()}

    @property
    def parents(self) -> dict[str, tuple[str, str]]:
        """class -> (parent, child), where every label is made of the two, as in `number:date`."""
        parts = {name: PARENT.match(meaning) for name, meaning in self.labels.items()}
        found = {name: (plain(match[1]), plain(match[2])) for name, match in parts.items() if match}
        several = 1 < len({parent for parent, _ in found.values()}) < len(found)
        return found if len(found) == len(parts) and several else {}

    def _forms(self, meaning: str) -> Forms:
        entry = known(meaning, self.kind) or (known(meaning, "topic") if self.kind in ("any", "picture") else None)
        if entry and self.language in entry.forms:
            return entry.forms[self.language]
        return Forms((plain(meaning),))


def brief_of(
    rows: Sequence[Row], labels: Mapping[str, str] | Sequence[str], kind: Kind | None = None,
    language: Literal["en", "zh"] | None = None,
) -> Brief:  # fmt: skip
    """From rows (their labels are not looked at) and the names of the classes, or what they mean."""
    meanings = dict(labels) if isinstance(labels, Mapping) else {name: name for name in labels}
    values = [row.values for row in rows[:200]]
    fields = tuple(name for name in ("text", "text_b", "picture") if values and name in values[0])
    texts = " ".join(str(each.get("text", ""))[:300] for each in values)
    rules = []
    if language is None:
        wide = len(WIDE.findall(texts or " ".join(meanings.values())))
        language = "zh" if wide > 0.2 * len(texts.replace(" ", "") or "xx") else "en"
        rules.append(f"language:{language}")
    if kind is None:
        kind = _kind(list(meanings.values()), fields)
        rules.append(f"kind:{kind}")
    return Brief(
        kind=kind, labels=_less_common(meanings), fields=fields or ("text",), language=language, rules=tuple(rules)
    )


def known(meaning: str, kind: str) -> Label | None:
    """The lexicon's entry for a label."""
    wanted = {plain(meaning), meaning.strip().lower()}
    for label in lexicon().get(kind, ()):
        if wanted & {label.name, *(also.lower() for also in label.also)}:
            return label
    return None


def plain(name: str) -> str:
    """A name as words: camelCase, snake_case and marks taken apart, abbreviations left as they are."""
    parts = [part for part in INNER.split(name.strip()) if part]
    return " ".join(part if part.isupper() and len(part) < 5 else part.lower() for part in parts) or name.strip()


def _kind(meanings: Sequence[str], fields: Sequence[str]) -> Kind:
    """The kind that knows most of the labels; several are tried in the order of the lexicon."""
    if "picture" in fields and "text" not in fields:
        return "picture"
    pair = "text_b" in fields
    shares = {
        kind: sum(known(meaning, kind) is not None for meaning in meanings) / len(meanings)
        for kind in lexicon() if (kind in PAIRS) == pair
    }  # fmt: skip
    best = max(shares, key=lambda kind: shares[kind])
    if shares[best] >= KNOWN:
        return best  # type: ignore[return-value]
    return "pair" if pair else "any"


def _less_common(meanings: Mapping[str, str]) -> dict[str, str]:
    """Meanings without the first word that all of them share, as in news_sports, news_finance."""
    parts = {name: INNER.split(meaning.strip()) for name, meaning in meanings.items()}
    first = {words[0] for words in parts.values()}
    if len(first) == 1 and all(len(words) > 1 for words in parts.values()):
        return {name: " ".join(words[1:]) for name, words in parts.items()}
    return dict(meanings)
