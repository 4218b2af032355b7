"""Which documents say what an earlier one said: exactly, or nearly.

Documents are numbered as they come. Of each the digest is kept (8 bytes) and, for near duplicates, a MinHash signature
in a file on the disk; afterwards one band of all signatures at a time is sorted in memory (16 bytes a document), and
those that agree in a band are compared (locality-sensitive hashing: Indyk, Motwani 1998). Nothing depends on chance.
"""

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from danlu.data.grams import grams, signature, words_of
from danlu.data.order import Words, mixed
from danlu.data.settings import DeduplicateSettings

RECALL = 0.99  # of pairs that are just as similar as asked, so many shall meet in some band
MANY = (
    256  # documents of a band that are compared with each later one; more differ from each other and agree by accident
)


class Repeat(NamedTuple):
    """What a document repeats, and how: a reason of the ledger."""

    of: int
    reason: str


class Duplicates:
    """Give it every document's digest and text in order, then ask for `repeats`. It is a context: its file goes."""

    def __init__(self, settings: DeduplicateSettings, scratch: Path):
        self.settings = settings
        self.digests, self.wordless = array("Q"), bytearray()
        self.scratch = scratch
        self.file = scratch.open("wb") if settings.kind == "near" else None

    def __enter__(self) -> "Duplicates":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.file:
            self.file.close()
            self.scratch.unlink(missing_ok=True)

    def add(self, digest: int, text: str) -> None:
        """The next document: what all of it comes to, and (the beginning of) its text."""
        self.digests.append(digest)
        if self.file:
            runs = grams(words_of(text), self.settings.words)
            self.wordless.append(not len(runs))
            self.file.write(signature(runs, self.settings.hashes).tobytes())

    def repeats(self) -> Mapping[int, Repeat]:
        """number -> the earlier document that it repeats, for each that should go; that one stays."""
        digests = np.frombuffer(self.digests, np.uint64) if self.digests else np.zeros(0, np.uint64)
        _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        earlier = first[inverse]
        found = {int(number): Repeat(int(earlier[number]), "duplicate") for number in _later(earlier)}
        if self.file and len(digests):
            found |= self._near(np.setdiff1d(first, np.flatnonzero(np.frombuffer(self.wordless, np.uint8))))
        return found

    def _near(self, documents: NDArray[np.int64]) -> dict[int, Repeat]:
        """Among these, the later ones of similar pairs whose earlier one stays."""
        assert self.file
        self.file.flush()
        signatures = np.memmap(self.scratch, np.uint32, "r", shape=(len(self.digests), self.settings.hashes))
        pairs: dict[int, set[int]] = {}
        for later, first in self._similar(signatures, documents):
            pairs.setdefault(later, set()).add(first)
        found: dict[int, Repeat] = {}
        for later in sorted(pairs):
            staying = [first for first in pairs[later] if first not in found]
            if staying:
                found[later] = Repeat(min(staying), "near duplicate")
        return found

    def _similar(self, signatures: NDArray[np.uint32], documents: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """(later, earlier) that meet in a band and agree in `similarity` of their signatures."""
        size = band_size(self.settings)
        for start in range(0, self.settings.hashes - size + 1, size):
            keys = _folded(signatures[documents, start : start + size])
            order = np.argsort(keys, kind="stable")
            edges = np.flatnonzero(np.diff(keys[order])) + 1
            for group in np.split(order, edges):
                if len(group) > 1:
                    yield from self._within(signatures, documents[group])

    def _within(self, signatures: NDArray[np.uint32], group: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Each of a group is compared with the earlier ones that are like none before them."""
        apart = signatures[group[:1]]
        names = [int(group[0])]
        for number in group[1:]:
            own = signatures[number]
            alike = np.flatnonzero((apart == own).mean(axis=1) >= self.settings.similarity)
            if len(alike):
                yield from ((int(number), names[at]) for at in alike)
            elif len(names) < MANY:
                apart, names = np.concatenate([apart, own[None]]), [*names, int(number)]


def band_size(settings: DeduplicateSettings) -> int:
    """The most hashes a band can have for pairs of just this similarity to meet in one of the bands almost surely."""
    fitting = [1]
    for size in range(2, settings.hashes + 1):
        if 1 - (1 - settings.similarity**size) ** (settings.hashes // size) >= RECALL:
            fitting.append(size)
    return fitting[-1]


class Digest:
    """64 bits of a normalised text in pieces; white space does not count."""

    def __init__(self) -> None:
        self._state = hashlib.blake2b(digest_size=8)

    def add(self, piece: str) -> None:
        self._state.update("".join(piece.split()).encode("utf8", errors="replace"))

    @property
    def number(self) -> int:
        return int.from_bytes(self._state.digest())


def _folded(columns: NDArray[np.uint32]) -> Words:
    keys = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        keys = mixed(keys * np.uint64(0x9E3779B97F4A7C15) + column.astype(np.uint64))
    return keys


def _later(earlier: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.flatnonzero(earlier != np.arange(len(earlier)))
