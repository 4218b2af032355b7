"""Translation language modelling (Lample, Conneau 2019, 3.3): a sentence and its translation, masked together.

A document is a line in several languages, each framed as it would be alone; or with the separator token between them,
as `data.text="{en}</s>{de}"` makes it of a table's columns.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from danlu.data.batch import Batch
from danlu.data.corpus import Corpus, Numbers, Pieces
from danlu.data.corruption.mask import mask_tokens
from danlu.data.corruption.settings import CorruptionSettings
from danlu.data.corruption.words import Words
from danlu.data.order import Chance
from danlu.data.packing import Packed, Rows


def translation(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Masks on both sides, which see each other; positions count from 0 on each side.

    `sides`: whether the model is told which side a token is on; as segments, where it has some.
    """
    batch = mask_tokens(rows, chance, settings, words)
    sides, positions = sides_of(rows, words)
    inputs = dict(batch.inputs) | {"positions": torch.from_numpy(positions)}
    if settings.sides:
        inputs["segments"] = torch.from_numpy(np.minimum(sides, 1))
    return Batch(inputs, batch.targets)


def sides_of(rows: Packed, words: Words) -> tuple[Numbers, Numbers]:
    """(B, T) each: which side of its document a token is on, 0 for the first; the token's place on its side.

    A side begins at a start token behind a separator or, where sides have no frames of their own, behind a separator.
    """
    column = np.arange(rows.tokens.shape[1])
    new_document = np.ones(rows.tokens.shape, bool)
    new_document[:, 1:] = rows.documents[:, 1:] != rows.documents[:, :-1]
    separator, start = words.role("separator"), words.special.get("start", -1)
    begins = np.zeros(rows.tokens.shape, bool)
    begins[:, 1:] = (rows.tokens[:, :-1] == separator) & ~new_document[:, 1:]
    if start == separator:  # XLM's: one that ends a side is followed by another that begins the next
        begins &= rows.tokens == start
    seen = np.cumsum(begins, axis=1)
    begin = np.maximum.accumulate(np.where(new_document, column, 0), axis=1)
    side = np.maximum.accumulate(np.where(new_document | begins, column, 0), axis=1)
    return seen - np.take_along_axis(seen, begin, axis=1), column - side


class TranslationRows(Rows):
    """Whole documents, each a text in several languages; `languages`: the number of each side's."""

    def __init__(self, corpus: Corpus, length: int, words: Words, languages: Sequence[int] | None):
        self.words = words
        self.spoken = None if languages is None else np.array(languages)
        super().__init__(corpus, length, words.frame, whole=True)

    def take(self, indices: ArrayLike, chance: Chance | None = None) -> Packed:
        rows = super().take(indices, chance)
        if self.spoken is None:
            return rows
        sides, _ = sides_of(rows, self.words)
        return rows._replace(languages=self.spoken[np.minimum(sides, len(self.spoken) - 1)])


def sides_apart(corpus: Corpus, separator: int) -> Corpus:
    """The same texts with each side a document of its own: what XLM's other objective reads beside translations.

    Named sources know their sides, and are taken apart where they are packed; if some hold no translations, only those
    are left.
    """
    if corpus.parts or corpus.is_parallel:
        others = [part for part in corpus.parts if not part.is_parallel]
        return Corpus.joined(others, corpus.sampling) if others else corpus
    pieces = corpus.pieces
    owner = np.repeat(np.arange(len(pieces)), pieces.lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(pieces.lengths) - pieces.lengths, pieces.lengths)
    between = corpus.tokens.take(pieces.starts[owner] + place) == separator
    count = np.bincount(owner[between], minlength=len(pieces))
    new = np.repeat(np.arange(len(pieces)), count + 1)  # the piece that each side is cut from
    first = np.cumsum(count + 1) - count - 1
    start, end = pieces.starts[new], (pieces.starts + pieces.lengths)[new]
    cut = np.ones(len(new), bool)
    cut[first] = False
    start[cut] = pieces.starts[owner[between]] + place[between] + 1
    end[:-1][cut[1:]] = start[cut] - 1
    lengths = end - start
    sizes = np.round(pieces.sizes[new] * lengths / np.maximum(pieces.lengths[new], 1)).astype(np.int64)
    hashes = pieces.hashes[new] + (np.arange(len(new)) - first[new]).astype(np.uint64)
    kept = lengths > 0
    return corpus.with_pieces(Pieces(start, lengths, sizes, hashes, pieces.begins[new] | cut)[kept], corpus.ledger)
