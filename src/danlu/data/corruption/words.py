"""What a corruption knows of the vocabulary."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from danlu.data.corpus import Numbers
from danlu.data.packing import Frame, masked_frame
from danlu.errors import DanluError, nearest

ENDS = (".", "!", "?", "。", "！", "？", "…")
CLOSING = "\"'”’」』）) "  # may stand between the end of a sentence and the end of its token
CONTINUED = "##"  # WordPiece's sign of a piece that goes on with a word
RAW = "<0x"  # a byte that is no character alone

# Special tokens that only some objectives ask for: role -> the names they go by, ours first.
MARKERS: Mapping[str, tuple[str, ...]] = {
    "before": ("<|fim_prefix|>", "<fim_prefix>", "<fim-prefix>", "<PRE>"),
    "after": ("<|fim_suffix|>", "<fim_suffix>", "<fim-suffix>", "<SUF>"),
    "between": ("<|fim_middle|>", "<fim_middle>", "<fim-middle>", "<MID>"),
    "regular": ("[R]", "[NLU]"),
    "extreme": ("[X]", "[NLG]"),
    "sequential": ("[S]", "[S2S]"),
}


class Vocabulary(Protocol):
    """What is asked of a tokenizer."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def special(self) -> Mapping[str, int]: ...

    @property
    def sentinels(self) -> tuple[int, ...]: ...

    @property
    def prefix(self) -> tuple[int, ...]: ...

    @property
    def suffix(self) -> tuple[int, ...]: ...

    def id(self, token: str) -> int | None: ...

    def pieces(self, ids: Sequence[int]) -> list[str]: ...


@dataclass(frozen=True)
class Words:
    """The vocabulary's size, its special tokens by role, and how its tokens read.

    opening: the token a decoder begins with. sentinels: <extra_id_0>, <extra_id_1>, … of T5. pieces: ids -> texts.
    languages: those the model tells apart, in the order of their numbers. sides: what the tokenizer puts around a text.
    """

    vocabulary: int
    special: Mapping[str, int]
    sentinels: tuple[int, ...] = ()
    opening: int = 0
    pieces: Callable[[Sequence[int]], list[str]] = field(default=lambda ids: [f" {index}" for index in ids])
    languages: tuple[str, ...] = ()
    sides: tuple[Sequence[int], Sequence[int]] = ((), ())

    @classmethod
    def of(cls, tokenizer: Vocabulary, opening: str | None = None, languages: tuple[str, ...] = ()) -> "Words":
        """A tokenizer's; `opening` is the role of the token a decoder begins with."""
        found = {role: [tokenizer.id(name) for name in names] for role, names in MARKERS.items()}
        markers = {role: index for role, ids in found.items() for index in ids[::-1] if index is not None}
        special = {**markers, **tokenizer.special}
        start = special.get(opening or "", 0)
        sides = tokenizer.prefix, tokenizer.suffix
        return cls(tokenizer.vocabulary, special, tokenizer.sentinels, start, tokenizer.pieces, languages, sides)

    @cached_property
    def frame(self) -> Frame:
        """Around every fragment of a text: what the tokenizer puts around a text, else what its special tokens say."""
        usual = masked_frame(self.special)
        before, after = map(tuple, self.sides)
        return replace(usual, prefix=before, suffix=after) if before or after else usual

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """(vocabulary,): never masked, never drawn as a replacement."""
        found = np.zeros(self.vocabulary, bool)
        found[[*self.special.values(), *self.sentinels]] = True
        return found

    @cached_property
    def ordinary(self) -> Numbers:
        return np.flatnonzero(~self.is_special)

    @cached_property
    def texts(self) -> list[str]:
        """Every token as text."""
        return self.pieces(range(self.vocabulary))

    @cached_property
    def opens_word(self) -> NDArray[np.bool_]:
        """(vocabulary,): tokens that begin a word wherever they stand."""
        if self._marked:
            return np.array([not text.startswith(CONTINUED) for text in self.texts])
        return np.array([text[:1].isspace() or _alone(text) for text in self.texts])

    @cached_property
    def closes_word(self) -> NDArray[np.bool_]:
        """(vocabulary,): tokens after which a word begins whatever comes."""
        if self._marked:
            return np.zeros(self.vocabulary, bool)
        return np.array([_alone(text[-1:]) and not text.startswith(RAW) for text in self.texts])

    @cached_property
    def ends_sentence(self) -> NDArray[np.bool_]:
        """(vocabulary,): tokens that end a sentence or a line."""
        return np.array([text.rstrip(CLOSING).endswith(ENDS) or "\n" in text for text in self.texts])

    def language(self, name: str, where: str = "") -> int | None:
        """The number of a language; None for a model that tells none apart. E1227 where it has not learnt this one."""
        if not self.languages:
            return None
        if name not in self.languages:
            near = nearest(name, self.languages)
            raise DanluError("E1227", where=where or None, found=name, possible=self.languages, nearest=near)
        return self.languages.index(name)

    def role(self, name: str) -> int:
        """The id of a special token. E1222 where the tokenizer has none."""
        if name not in self.special:
            raise DanluError("E1222", role=name, found=dict(self.special))
        return self.special[name]

    @cached_property
    def _marked(self) -> bool:
        return any(text.startswith(CONTINUED) for text in self.texts)


def is_han(text: str) -> bool:
    """Whether a token is written in Chinese characters alone."""
    letters = text.strip()
    return bool(letters) and all("㐀" <= letter <= "鿿" or "豈" <= letter <= "﫿" for letter in letters)


def _alone(text: str) -> bool:
    """Signs and Chinese characters go on with no word; a byte that is half a character does."""
    return not text.startswith(RAW) and (not text[:1].isalnum() or is_han(text[:1]))
