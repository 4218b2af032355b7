"""The texts of packed rows, one by one, and rows made of them anew; all rows of a batch at once.

Every text has the special tokens of its frame around its body. What is flat here is ordered by text, then by place:
`owner` says which text an element belongs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.data.batch import IGNORED, Batch
from danlu.data.corpus import Numbers
from danlu.data.packing import PADDING, Frame, Packed

LAST = np.inf  # a place behind every other


class Flat(NamedTuple):
    """Tokens of texts: (N,) each; place within the text, in halves where something stands between two tokens."""

    tokens: Numbers
    owner: Numbers
    place: NDArray[np.float64]

    def only(self, chosen: NDArray[np.bool_]) -> "Flat":
        return Flat(self.tokens[chosen], self.owner[chosen], self.place[chosen])


def marks(token: int, owner: Numbers, place: NDArray[np.float64]) -> Flat:
    """One special token in several texts."""
    return Flat(np.full(len(owner), token), owner, place)


@dataclass(frozen=True)
class Fragments:
    """(F,) each: the row and document number of a text, the column and length of its body."""

    row: Numbers
    document: Numbers
    start: Numbers
    length: Numbers
    rows: Packed

    @classmethod
    def of(cls, rows: Packed, frame: Frame) -> "Fragments":
        """The texts of rows that were packed in this frame, each fragment framed."""
        border = np.ones(rows.tokens.shape, bool)
        border[:, 1:] = rows.documents[:, 1:] != rows.documents[:, :-1]
        row, column = np.nonzero(border)
        size = np.diff(np.flatnonzero(border), append=border.size)
        document = rows.documents[row, column]
        text = document != PADDING
        start = column + len(frame.prefix)
        return cls(row[text], document[text], start[text], (size - frame.around)[text], rows)

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def owner(self) -> Numbers:
        """The text of each body token, (N,)."""
        return np.repeat(np.arange(len(self)), self.length)

    @cached_property
    def place(self) -> Numbers:
        """Its place in the text, (N,)."""
        return ranked(self.length)

    @property
    def at(self) -> tuple[Numbers, Numbers]:
        """Row and column of each body token."""
        return self.prefixes(self.length)

    @cached_property
    def tokens(self) -> Numbers:
        return self.rows.tokens[self.at]

    def prefixes(self, lengths: Numbers) -> tuple[Numbers, Numbers]:
        """Row and column of the first `lengths` tokens of each body."""
        return np.repeat(self.row, lengths), np.repeat(self.start, lengths) + ranked(lengths)

    @property
    def first(self) -> tuple[Numbers, Numbers]:
        """Row and column of each text's beginning, where it finds chance of its own."""
        return self.row, self.start

    def bodies(self, tokens: Numbers | None = None) -> Flat:
        """The texts as they are, or with other tokens."""
        return Flat(self.tokens if tokens is None else tokens, self.owner, self.place.astype(np.float64))

    def around(self, ids: tuple[int, ...], place: float) -> list[Flat]:
        """The same special tokens in every text."""
        return [marks(token, np.arange(len(self)), np.full(len(self), place)) for token in ids]

    def woven(self, *parts: Flat, frame: Frame) -> Flat:
        """Elements put in order of their places, in the frame; of equal places, in the order given."""
        whole = (*self.around(frame.prefix, -np.inf), *parts, *self.around(frame.suffix, LAST))
        tokens, owner, place = (np.concatenate(part) for part in zip(*whole, strict=True))
        order = np.lexsort((place, owner))
        return Flat(tokens[order], owner[order], place[order])

    def laid(self, flat: Flat, padding: int, width: int = 0) -> Packed:
        """Texts side by side in their rows again, which become as long as the longest, and `width` at least."""
        row = self.row[flat.owner]
        count = np.bincount(row, minlength=len(self.rows.tokens))
        column = ranked(count)
        shape = (len(count), max(width, int(count.max(initial=1))))
        tokens, documents = np.full(shape, padding, np.int64), np.full(shape, PADDING, np.int64)
        tokens[row, column], documents[row, column] = flat.tokens, self.document[flat.owner]
        return Packed(tokens, documents, documents != PADDING)

    def delayed(self, flat: Flat, opening: int) -> Flat:
        """What a decoder is given to answer with `flat`: the opening token, then each answer but the last."""
        given = np.concatenate([[opening], flat.tokens[:-1]])
        begins = np.concatenate([[True], flat.owner[1:] != flat.owner[:-1]])
        return Flat(np.where(begins, opening, given), flat.owner, flat.place)


def ranked(counts: Numbers) -> Numbers:
    """0, 1, … counts[0]-1, 0, 1, … counts[1]-1, …"""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def composed(totals: Numbers, parts: Numbers, chance: NDArray[np.float64]) -> Numbers:
    """Each total cut into so many whole parts, none empty, every way alike: the parts, one group after the other.

    chance: one number an element, (totals.sum(),). A part begins at the first element, and where chance is least.
    """
    owner, first = np.repeat(np.arange(len(totals)), totals), ranked(totals) == 0
    begins = lowest(np.where(first, -1.0, chance), owner, totals, parts)
    return np.diff(np.flatnonzero(begins), append=len(owner))


def lowest(keys: NDArray[np.float64], owner: Numbers, totals: Numbers, counts: Numbers) -> NDArray[np.bool_]:
    """Which elements have the `counts` lowest keys among their owner's."""
    chosen = np.zeros(len(keys), bool)
    chosen[np.lexsort((keys, owner))] = ranked(totals) < np.repeat(counts, totals)
    return chosen


def batched(rows: Packed, targets: Mapping[str, Numbers], names: Mapping[str, Numbers] | None = None) -> Batch:
    """A batch of one tower. Document numbers go along only where some row holds more than one document or padding."""
    inputs = {"tokens": rows.tokens, **(names or {})}
    if (rows.documents != rows.documents[:, :1]).any():
        inputs["documents"] = rows.documents
    if rows.segments is not None:
        inputs["segments"] = rows.segments
    if rows.languages is not None:
        inputs["languages"] = rows.languages
    answers = dict(targets) | ({} if rows.pairs is None else {"pairs": rows.pairs})
    return Batch(_tensors(inputs), _tensors(answers))


def paired(source: Packed, target: Packed, answers: Packed) -> Batch:
    """A batch of two towers: what is read, what the decoder is given, what it should have answered."""
    inputs = {"source": source.tokens, "target": target.tokens}
    if any((rows.documents != rows.documents[:, :1]).any() for rows in (source, target)):
        inputs |= {"source_documents": source.documents, "target_documents": target.documents}
    return Batch(_tensors(inputs), _tensors({"tokens": np.where(answers.valid, answers.tokens, IGNORED)}))


def _tensors(arrays: Mapping[str, Numbers]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
