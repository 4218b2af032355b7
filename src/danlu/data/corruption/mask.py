"""Masked language modelling: tokens, words, or stretches of them are hidden."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from danlu.data.batch import IGNORED, Batch
from danlu.data.corpus import Numbers
from danlu.data.corruption.fragments import batched
from danlu.data.corruption.settings import CorruptionSettings
from danlu.data.corruption.words import Words, is_han
from danlu.data.order import Chance
from danlu.data.packing import Packed
from danlu.text.chinese import words as chinese_words

# Streams of chance: which unit, what becomes of it, which word, how many units; what a generator draws.
CHOICE, FATE, WORD, STRETCH, DRAWN = *range(4), 13
SHARE = 0.15
# Chance of 1, 2, 3 … units at once: SpanBERT's Geo(0.2) cut at 10 (Joshi et al. 2019, 3.1), ALBERT's 1/n up to 3.
STRETCHES = {
    "single": np.ones(1),
    "geometric": 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10),
    "ngram": np.array([6, 3, 2]) / 11,
}


def mask_tokens(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Each unit that is not special is chosen with probability `share`, independently or in stretches."""
    width = rows.tokens.shape[1]
    chosen = rows.valid & ~words.is_special[rows.tokens] & picked(rows, chance, settings, words)
    fate = chance.draw(width, FATE)
    if settings.stretch != "single":  # a stretch has one fate: that of the place before it
        before = np.maximum.accumulate(np.where(chosen, 0, np.arange(width)), axis=1)
        fate = np.take_along_axis(fate, before, axis=1)
    hidden = chosen & (fate < settings.mask)
    replaced = chosen & ~hidden & (fate < settings.mask + settings.replace)
    others = words.ordinary[(chance.draw(width, WORD) * len(words.ordinary)).astype(np.int64)]
    tokens = np.where(hidden, words.role("mask"), np.where(replaced, others, rows.tokens))
    return batched(rows._replace(tokens=tokens), {"tokens": np.where(chosen, rows.tokens, IGNORED)})


def detect(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Masks for a generator to fill (Clark et al. 2020, 2). Beside the hidden tokens as its targets: `replaced`, every
    token as it was, for the detector; `chance`, 31 bits for each place, by which the generator draws."""
    batch = mask_tokens(rows, chance, settings, words)
    drawn = (chance.draw(rows.tokens.shape[1], DRAWN) * 2**31).astype(np.int64)
    originals = np.where(rows.valid, rows.tokens, IGNORED)
    return Batch(
        batch.inputs, dict(batch.targets) | {"replaced": torch.from_numpy(originals), "chance": torch.from_numpy(drawn)}
    )


def plain(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Nothing is hidden and no token is asked for: for objectives about whole texts."""
    return batched(rows, {})


def picked(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> NDArray[np.bool_]:
    """(B, T): the places of chosen units, whatever stands there.

    A stretch begins at any unit with one probability, such that the share of covered units comes out right; those that
    began before the row count as well.
    """
    units = UNITS[settings.unit](rows, words)
    odds = STRETCHES[settings.stretch]
    reach, width = len(odds), rows.tokens.shape[1] + len(odds) - 1
    begins = chance.draw(width, CHOICE) < _beginning(settings.share or SHARE, settings.stretch)
    if reach == 1:
        covered = begins
    else:
        length = 1 + np.searchsorted(np.cumsum(odds)[:-1], chance.draw(width, STRETCH), side="right")
        covered = np.zeros_like(begins)
        for back in range(reach):
            covered[:, back:] |= (begins & (length > back))[:, : width - back]
    return np.take_along_axis(covered[:, reach - 1 :], units, axis=1)


@cache
def _beginning(share: float, stretch: str) -> float:
    """The probability with which a stretch must begin at a unit: 1 - Π_j (1 - q · P(length > j)) = share."""
    beyond = 1 - np.cumsum(STRETCHES[stretch]) + STRETCHES[stretch]
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - np.prod(1 - middle * beyond) < share else (low, middle)
    return high


def tokens(rows: Packed, words: Words) -> Numbers:
    """Every token is a unit."""
    return np.broadcast_to(np.arange(rows.tokens.shape[1]), rows.tokens.shape)


def whole_words(rows: Packed, words: Words) -> Numbers:
    """The number of each token's word within its row, (B, T)."""
    return np.cumsum(_beginnings(rows, words), axis=1) - 1


def whole_chinese_words(rows: Packed, words: Words) -> Numbers:
    """The same with Chinese segmented into words (Cui et al. 2019). E1307 where no segmenter is installed."""
    begins = _beginnings(rows, words)
    for tokens, first in zip(rows.tokens, begins, strict=True):
        texts = [words.texts[token].strip() for token in tokens]
        han = np.array([is_han(text) for text in texts])
        edges = np.flatnonzero(np.diff(han, prepend=False, append=False))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            letters = np.cumsum([0, *map(len, texts[start : stop - 1])])
            cuts = np.cumsum([0, *map(len, chinese_words("".join(texts[start:stop])))])
            first[start:stop] = np.isin(letters, cuts)
    begins[:, 0] = True
    return np.cumsum(begins, axis=1) - 1


def _beginnings(rows: Packed, words: Words) -> NDArray[np.bool_]:
    """Where words begin: after a border, at a token that says so, behind one that can have no continuation."""
    begins = words.opens_word[rows.tokens] | words.is_special[rows.tokens]
    begins[:, 1:] |= (words.closes_word | words.is_special)[rows.tokens[:, :-1]]
    begins[:, 1:] |= rows.documents[:, 1:] != rows.documents[:, :-1]
    begins[:, 0] = True
    return begins


UNITS = {"token": tokens, "word": whole_words, "chinese": whole_chinese_words}
