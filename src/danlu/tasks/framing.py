"""How texts become rows of tokens: the family's special tokens around one text or two, and what is cut to fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from danlu.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Framing:
    """length: tokens a row may have. segments: whether the model tells two texts of a row apart (BERT)."""

    tokenizer: Tokenizer
    length: int
    segments: bool = False

    @cached_property
    def between(self) -> list[int]:
        """What stands between two texts: the family's separators, or a line end where it has none."""
        return list(self.tokenizer.between) or self.tokenizer.encode("\n") or [self.tokenizer.special.get("unknown", 0)]

    @property
    def pad(self) -> int:
        return self.tokenizer.special.get("pad", self.tokenizer.special.get("end", 0))

    @cached_property
    def around(self) -> int:
        return len(self.tokenizer.prefix) + len(self.tokenizer.suffix)

    def room(self, pair: bool = False) -> int:
        """Tokens of text a row can hold."""
        return max(1, self.length - self.around - (len(self.between) if pair else 0))

    def one(self, ids: Sequence[int]) -> tuple[list[int], int]:
        """A text in its frame, and how many tokens were cut off its end."""
        kept = list(ids[: self.room()])
        return [*self.tokenizer.prefix, *kept, *self.tokenizer.suffix] or [self.pad], len(ids) - len(kept)

    def two(self, first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int] | None, int]:
        """Two texts in their frame, the segment of each token, and how many were cut, from the longer one first."""
        room = self.room(pair=True)
        most = max(len(first), len(second))
        short = min(len(first), len(second))
        if len(first) + len(second) > room:
            short = min(short, room // 2)
            most = room - short
        sizes = (most, short) if len(first) >= len(second) else (short, most)
        a, b = first[: sizes[0]], second[: sizes[1]]
        before = [*self.tokenizer.prefix, *a, *self.between]
        after = [*b, *self.tokenizer.suffix]
        marks = [0] * len(before) + [1] * len(after) if self.segments else None
        return before + after, marks, len(first) + len(second) - len(a) - len(b)
