"""Translation language modelling (Lample, Conneau 2019, 3.3): a sentence and its translation, masked together.

A document is a line in several languages with the separator token between them, as
`data.text="{en}</s>{de}"` makes it of a table's columns.
"""

import numpy as np
import torch

from danlu.data.batch import Batch
from danlu.data.corpus import Numbers
from danlu.data.corruption.mask import mask_tokens
from danlu.data.corruption.settings import CorruptionSettings
from danlu.data.corruption.words import Words
from danlu.data.order import Chance
from danlu.data.packing import Packed


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
    """(B, T) each: how many separators stand before a token in its document; the token's place on its side."""
    column = np.arange(rows.tokens.shape[1])
    new_document = np.ones(rows.tokens.shape, bool)
    new_document[:, 1:] = rows.documents[:, 1:] != rows.documents[:, :-1]
    after_separator = np.zeros(rows.tokens.shape, bool)
    after_separator[:, 1:] = rows.tokens[:, :-1] == words.role("separator")
    seen = np.cumsum(after_separator & ~new_document, axis=1)
    begin = np.maximum.accumulate(np.where(new_document, column, 0), axis=1)
    side = np.maximum.accumulate(np.where(new_document | after_separator, column, 0), axis=1)
    return seen - np.take_along_axis(seen, begin, axis=1), column - side
