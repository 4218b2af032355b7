"""How pieces of text become tokens that can stand beside each other.

Every piece is spelled on its own, never a joined text again, so that what a field holds cannot change the tokens around
it. A space between two pieces belongs to the second, where the tokenizers of GPT-2 and its kin expect it; tokenizers
that put a space before every text by themselves (WordPiece, most of SentencePiece) are told only where there is none.
"""

from collections.abc import Sequence
from functools import cached_property

from danlu.text.tokenizer import Tokenizer

BESIDE = "("  # what a piece is spelled behind, where no space may come before it


class Spelling:
    """Special tokens written in a text are only letters: no text can say that a row ends, or ask for an answer."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer
        roles = (token for role, token in tokenizer.special.items() if role != "unknown")
        self.special = frozenset((*roles, *tokenizer.prefix, *tokenizer.suffix, *tokenizer.sentinels))
        self._known: dict[str, list[int]] = {}

    def spell(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of pieces; one that begins with a space is a new word."""
        if not self._spaces_itself:
            return self._encode(texts)
        beside = [bool(text) and not text[0].isspace() for text in texts]
        plain = self._encode([text.removeprefix(" ") for text in texts])
        if not self._joins or not any(beside):
            return plain
        behind = iter(self._encode([BESIDE + text for text, close in zip(texts, beside, strict=True) if close]))
        opening = self._opening
        found = []
        for ids, close in zip(plain, beside, strict=True):
            ids_behind = next(behind) if close else []
            found.append(ids_behind[len(opening) :] if close and ids_behind[: len(opening)] == opening else ids)
        return found

    def word(self, text: str) -> list[int]:
        """The ids of a piece that comes again and again."""
        if text not in self._known:
            (self._known[text],) = self.spell([text])
        return self._known[text]

    def knows(self, text: str) -> bool:
        """Whether a piece has a token that says something."""
        unknown = {self.tokenizer.special.get("unknown")} - self.special
        return bool(set(self.word(f" {text}")) - unknown)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        rows = self.tokenizer.encode_many(texts, specials=False)
        special = self.special
        return [[token for token in row if token not in special] if special.intersection(row) else row for row in rows]

    @cached_property
    def _spaces_itself(self) -> bool:
        """Whether a text gets a space in front that nobody wrote."""
        ids = self.tokenizer.encode("a")
        return self.tokenizer.decode([*ids, *ids]) == "a a"

    @cached_property
    def _joins(self) -> bool:
        """Whether a piece behind another one can have other tokens than alone (SentencePiece, not WordPiece)."""
        return self._encode([BESIDE + "a"])[0] != [*self._opening, *self.tokenizer.encode("a")]

    @cached_property
    def _opening(self) -> list[int]:
        return self._encode([BESIDE])[0]
