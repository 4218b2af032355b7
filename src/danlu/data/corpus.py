"""Tokenised documents, wherever their tokens lie."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.data.ledger import Ledger

Numbers = NDArray[np.int64]
BETWEEN = 255  # the side of a piece that is no text but stands between two sides of a translation


@dataclass(frozen=True)
class Tokens:
    """Token numbers in one or several (memory-mapped) arrays, read as if they were one."""

    parts: tuple[NDArray[Any], ...]

    @cached_property
    def bounds(self) -> Numbers:
        """Where each part begins, and the end: (parts + 1,)."""
        return np.concatenate([[0], np.cumsum([len(part) for part in self.parts])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def take(self, places: Numbers) -> Numbers:
        """The tokens at these places, in their shape."""
        if len(self.parts) == 1:
            return self.parts[0][places].astype(np.int64)
        found = np.empty(places.shape, np.int64)
        owners = np.searchsorted(self.bounds, places, side="right") - 1
        for number in np.unique(owners):
            here = owners == number
            found[here] = self.parts[number][places[here] - self.bounds[number]]
        return found


@dataclass(frozen=True)
class Pieces:
    """What documents are stored as, (P,) each: a document is a piece that begins one and those after it that do not."""

    starts: Numbers  # place of the first token
    lengths: Numbers  # in tokens
    sizes: Numbers  # in UTF-8 bytes of text
    hashes: NDArray[np.uint64]  # of the text
    begins: NDArray[np.bool_]
    sides: NDArray[np.uint8] | None = None  # of translations: which language it is in, or BETWEEN

    def __getitem__(self, chosen: NDArray[Any] | slice) -> "Pieces":
        sides = None if self.sides is None else self.sides[chosen]
        return Pieces(
            self.starts[chosen], self.lengths[chosen], self.sizes[chosen], self.hashes[chosen], self.begins[chosen],
            sides,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class Corpus:
    """Documents as runs of tokens, with the ledger of the rows they came from.

    name, languages, weight: of the source it is, where there are several. parts: the sources it is made of, in order,
    and `sampling`: how they are drawn where they have no weights.
    """

    tokens: Tokens
    pieces: Pieces
    ledger: Ledger = field(default_factory=Ledger)
    name: str = ""
    languages: tuple[str, ...] = ()
    weight: float | None = None
    parts: "tuple[Corpus, ...]" = ()
    sampling: float = 1.0

    @classmethod
    def joined(cls, parts: "Sequence[Corpus]", sampling: float = 1.0) -> "Corpus":
        """Several corpora as one, which still knows them; the ledger of all."""
        before = np.cumsum([0, *(len(part.tokens) for part in parts)])[: len(parts)]
        several = [part.pieces for part in parts]
        pieces = Pieces(
            np.concatenate([each.starts + start for each, start in zip(several, before, strict=True)]),
            np.concatenate([each.lengths for each in several]),
            np.concatenate([each.sizes for each in several]),
            np.concatenate([each.hashes for each in several]),
            np.concatenate([each.begins for each in several]),
        )
        ledger = parts[0].ledger
        for part in parts[1:]:
            ledger = ledger.merged(part.ledger)
        tokens = Tokens(tuple(array for part in parts for array in part.tokens.parts))
        return cls(tokens, pieces, ledger, parts=tuple(parts), sampling=sampling)

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]]) -> "Corpus":
        """A corpus in memory; each document is one piece, and counts one byte a token."""
        lengths = np.array([len(document) for document in documents], np.int64)
        flat = np.array([token for document in documents for token in document], np.int64)
        hashes = np.array([hash(tuple(document)) % 2**64 for document in documents], np.uint64)
        starts = np.cumsum(lengths) - lengths
        kept = lengths > 0
        pieces = Pieces(starts, lengths, lengths, hashes, np.ones(len(lengths), bool))[kept]
        return cls(Tokens((flat,)), pieces, Ledger(trained=int(kept.sum())))

    @cached_property
    def heads(self) -> Numbers:
        """The piece each document begins with, (N,)."""
        return np.flatnonzero(self.pieces.begins)

    @cached_property
    def starts(self) -> Numbers:
        """Place of each document's first token, (N,)."""
        return self.pieces.starts[self.heads]

    @cached_property
    def lengths(self) -> Numbers:
        """Tokens of each document, (N,)."""
        if not len(self.heads):
            return np.zeros(0, np.int64)
        return np.add.reduceat(self.pieces.lengths, self.heads)

    @property
    def documents(self) -> int:
        return len(self.heads)

    @property
    def size(self) -> int:
        """Tokens in all."""
        return int(self.pieces.lengths.sum())

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the text in all."""
        return int(self.pieces.sizes.sum())

    def document(self, index: int) -> Numbers:
        """The tokens of one document."""
        start = int(self.starts[index])
        return self.tokens.take(np.arange(start, start + int(self.lengths[index])))

    @property
    def title(self) -> str:
        """Its name, with the languages where those do not say the same."""
        return f"{self.name} ({', '.join(self.languages)})" if set(self.languages) - {self.name} else self.name

    @property
    def is_parallel(self) -> bool:
        """Whether its documents are translations: the same in each of its languages."""
        return len(self.languages) > 1

    def apart(self) -> "tuple[Corpus, ...]":
        """The sides of translations, each language a corpus of its own; any other corpus as it is."""
        sides = self.pieces.sides
        if sides is None or not self.is_parallel:
            return (self,)
        found = []
        for side, language in enumerate(self.languages):
            pieces = self.pieces[sides == side]
            before = np.concatenate([[BETWEEN], sides[:-1]])[sides == side]
            pieces = replace(pieces, begins=pieces.begins | (before != side), sides=None)
            weight = None if self.weight is None else self.weight / len(self.languages)
            own = replace(self, pieces=pieces, name=f"{self.name}/{language}", languages=(language,), weight=weight)
            found.append(own)
        return tuple(found)

    def with_pieces(self, pieces: Pieces, ledger: Ledger) -> "Corpus":
        return replace(self, pieces=pieces, ledger=ledger)
