"""Documents packed into full rows; each row is a pure function of its number.

Two ways, by the frame. A *stream* (causal models): every document between its own prefix and suffix, one after the
other, cut every `length` tokens; a document cut by a row border goes on in the next row. *Fragments* (masked models):
what a row shows of a document stands between prefix and suffix every time, as the model will meet its inputs later.
Documents in a row are numbered, so that attention can keep them apart; padding, a few places at most except in the very
last row, is nobody's document.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from danlu.data.corpus import Corpus, Numbers
from danlu.data.order import Chance
from danlu.errors import DanluError

PADDING = -1  # the document number of a place that holds no text


@dataclass(frozen=True)
class Frame:
    """Special tokens around a document, or with `every_fragment` around each of its fragments; and the padding."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    every_fragment: bool = False
    padding: int = 0

    @property
    def around(self) -> int:
        return len(self.prefix) + len(self.suffix)


def masked_frame(special: Mapping[str, int]) -> Frame:
    """[CLS] … [SEP], <s> … </s>: `start` and `separator` (or `end`) around each fragment, where there are such."""
    closing = special.get("separator", special.get("end"))
    return Frame(_ids(special.get("start")), _ids(closing), every_fragment=True, padding=_padding(special))


def causal_frame(special: Mapping[str, int]) -> Frame:
    """`<s> … </s>`; where one token says both (GPT-2's end of text), it stands before each document.

    The token that begins the next document is then what the last token of this one should have answered, so that a
    model learns to begin from it and to end with it at the price of one token a document.
    """
    start, end = special.get("start"), special.get("end")
    if end is None or start == end or start is None:
        return Frame(prefix=_ids(end if start is None else start), padding=_padding(special))
    return Frame(_ids(start), _ids(end), padding=_padding(special))


def _ids(token: int | None) -> tuple[int, ...]:
    return () if token is None else (token,)


def _padding(special: Mapping[str, int]) -> int:
    return special.get("pad", special.get("end", 0))


class Packed(NamedTuple):
    """Rows of tokens, (B, T) each: which document of its row a token belongs to, and whether it is one at all."""

    tokens: Numbers
    documents: Numbers  # 0, 1, … within a row; PADDING where there is none
    valid: NDArray[np.bool_]
    segments: Numbers | None = None  # 0 and 1, of rows that hold pairs
    pairs: Numbers | None = None  # what should be answered about them
    languages: Numbers | None = None  # their numbers, for a model that tells them apart


class _Fragments(NamedTuple):
    """Parts of documents in the order they are written, (F,) each."""

    row: Numbers
    document: Numbers
    ordinal: Numbers  # of the document within its row
    first: Numbers  # where the framed body begins in the document
    body: Numbers  # its tokens
    skip: Numbers  # places of the framed fragment that lie before the row
    shown: Numbers  # places that lie in the row


class Rows:
    """All rows of a corpus. `ahead` more tokens are read behind each row: the next token's target costs no place.

    whole: documents are not cut where a row ends but stand in the next one; only what is longer than a row loses its
    end. language: the number of the one that all of it is in.
    """

    def __init__(
        self, corpus: Corpus, length: int, frame: Frame, ahead: int = 0, whole: bool = False,
        language: int | None = None,
    ):  # fmt: skip
        if length <= frame.around:
            raise DanluError("E1221", found=length, possible=f"> {frame.around}")
        self.corpus, self.length, self.frame, self.ahead, self.language = corpus, length, frame, ahead, language
        self.lengths = np.minimum(corpus.lengths, length - frame.around) if whole else corpus.lengths
        self.framed = np.concatenate([[0], np.cumsum(self.lengths + frame.around)]).astype(np.int64)
        if frame.every_fragment:
            self.plan = (_whole_plan if whole else _plan)(self.lengths, self.framed, length, frame.around)
            self.count = len(self.plan[0]) - 1
            used = self.framed[-1] - self.framed[self.plan[0][-2]] - self.plan[1][-2] if self.count else length
            self.full = self.count - int(used + frame.around < length)
        else:
            self.count = max(0, -(-int(self.framed[-1] - ahead) // length))
            self.full = max(0, int(self.framed[-1] - ahead) // length)

    def __len__(self) -> int:
        return self.count

    def take(self, indices: ArrayLike, chance: Chance | None = None) -> Packed:
        """The rows of these numbers, (B, length + ahead). Chance has no part in it but where pairs are made."""
        rows = np.atleast_1d(np.asarray(indices, np.int64))
        shape = (len(rows), self.length + self.ahead)
        tokens = np.full(shape, self.frame.padding, np.int64)
        documents = np.full(shape, PADDING, np.int64)
        parts = self._fragments(rows) if self.frame.every_fragment else self._stream(rows)

        owner = np.repeat(np.arange(len(parts.row)), parts.shown)
        begin = np.cumsum(parts.shown) - parts.shown
        place = np.arange(len(owner)) - begin[owner]
        row = parts.row[owner]
        row_begin = begin[np.searchsorted(parts.row, np.arange(len(rows)))] if len(owner) else begin
        column = np.arange(len(owner)) - row_begin[row]
        tokens[row, column] = self._written(parts, owner, place + parts.skip[owner])
        documents[row, column] = parts.ordinal[owner]
        languages = None if self.language is None else np.full(shape, self.language)
        return Packed(tokens, documents, documents != PADDING, languages=languages)

    def origins(self, indices: ArrayLike) -> list[str]:
        """What the source of each of these rows is called."""
        return [self.corpus.title] * len(np.atleast_1d(np.asarray(indices)))

    def _written(self, parts: _Fragments, owner: Numbers, place: Numbers) -> Numbers:
        """The token at each place of a framed fragment."""
        prefix, suffix = self.frame.prefix, self.frame.suffix
        inner = place - len(prefix)
        behind = inner - parts.body[owner]
        text = (inner >= 0) & (behind < 0)
        written = np.empty(len(owner), np.int64)
        source = self.corpus.starts[parts.document[owner]] + parts.first[owner] + inner
        written[text] = self.corpus.tokens.take(source[text])
        if prefix:
            written[inner < 0] = np.array(prefix)[place[inner < 0]]
        if suffix:
            written[behind >= 0] = np.array(suffix)[behind[behind >= 0]]
        return written

    def _stream(self, rows: Numbers) -> _Fragments:
        start = rows * self.length
        stop = np.minimum(start + self.length + self.ahead, self.framed[-1])
        first = np.searchsorted(self.framed, start, side="right") - 1
        last = np.searchsorted(self.framed, stop - 1, side="right") - 1
        row, document, ordinal = _spread(first, last)
        skip = np.maximum(start[row] - self.framed[document], 0)
        shown = np.minimum(stop[row], self.framed[document + 1]) - self.framed[document] - skip
        return _Fragments(row, document, ordinal, np.zeros_like(row), self.lengths[document], skip, shown)

    def _fragments(self, rows: Numbers) -> _Fragments:
        documents, offsets = self.plan
        first, last, cut = documents[rows], documents[rows + 1], offsets[rows + 1]
        row, document, ordinal = _spread(first, np.where(cut > 0, last, last - 1))
        begin = np.where(document == first[row], offsets[rows][row], 0)
        end = np.where((document == last[row]) & (cut[row] > 0), cut[row], self.lengths[document])
        body = end - begin
        return _Fragments(row, document, ordinal, begin, body, np.zeros_like(row), body + self.frame.around)


def _spread(first: Numbers, last: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Row b spread over the documents first[b] … last[b] -> (row, document, ordinal in the row)."""
    count = last - first + 1
    row = np.repeat(np.arange(len(first)), count)
    ordinal = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, first[row] + ordinal, ordinal


def _plan(lengths: Numbers, framed: Numbers, length: int, around: int) -> tuple[Numbers, Numbers]:
    """Where each row begins and the last one ends: (document, token of the document), (rows + 1,) each.

    Documents fill a row one after the other; the last is cut where the row ends. Where a row has room for no more than
    a frame, the rest of it is padding.
    """
    documents, offsets = array("q"), array("q")
    document, offset, total = 0, 0, len(lengths)
    while document < total:
        left = int(lengths[document]) - offset + around
        whole_rows = max(0, -(-(left - length) // (length - around)))
        documents.extend([document] * (whole_rows + 1))
        offsets.extend(range(offset, offset + whole_rows * (length - around) + 1, length - around))
        room = length - left + whole_rows * (length - around)
        reach = int(framed[document + 1]) + room
        following = int(np.searchsorted(framed, reach, side="right")) - 1
        room = reach - int(framed[following])
        document, offset = following, room - around if following < total and room > around else 0
    documents.append(total)
    offsets.append(0)
    return np.frombuffer(documents, np.int64), np.frombuffer(offsets, np.int64)


def _whole_plan(lengths: Numbers, framed: Numbers, length: int, around: int) -> tuple[Numbers, Numbers]:
    """The same where every document stands in one row."""
    documents = array("q")
    document, total = 0, len(lengths)
    while document < total:
        documents.append(document)
        document = int(np.searchsorted(framed, int(framed[document]) + length, side="right")) - 1
    documents.append(total)
    return np.frombuffer(documents, np.int64), np.zeros(len(documents), np.int64)
