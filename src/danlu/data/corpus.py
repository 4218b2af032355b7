"""Tokenised documents, wherever their tokens lie."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danlu.data.ledger import Ledger

Numbers = NDArray[np.int64]


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

    def __getitem__(self, chosen: NDArray[Any] | slice) -> "Pieces":
        return Pieces(
            self.starts[chosen], self.lengths[chosen], self.sizes[chosen], self.hashes[chosen], self.begins[chosen]
        )

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class Corpus:
    """Documents as runs of tokens, with the ledger of the rows they came from."""

    tokens: Tokens
    pieces: Pieces
    ledger: Ledger = field(default_factory=Ledger)

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

    def with_pieces(self, pieces: Pieces, ledger: Ledger) -> "Corpus":
        return replace(self, pieces=pieces, ledger=ledger)
