"""BART's noise (Lewis et al. 2019, section 2.2): the source is damaged, the answer is the whole text."""

import math

import numpy as np
from numpy.typing import NDArray

from danlu.data.batch import Batch
from danlu.data.corpus import Numbers
from danlu.data.corruption.fragments import Flat, Fragments, lowest, marks, paired, ranked
from danlu.data.corruption.settings import CorruptionSettings
from danlu.data.corruption.words import Words
from danlu.data.order import Chance
from danlu.data.packing import Packed

COUNT, LENGTH, PLACE, SENTENCE, PIVOT, FATE, DELETE = range(7)  # streams of chance
SHARE = 0.3
LONGEST = 40  # tokens of a span; a Poisson number of mean 3 is longer once in 10^28


def infill(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Sentences shuffled, texts begun elsewhere, spans of Poisson length each behind one mask, tokens left out.

    A span of no token inserts a mask. Spans lie anywhere among the tokens that are kept, every way alike.
    """
    frame, mask = words.frame, words.role("mask")
    given, width = Fragments.of(rows, frame), rows.tokens.shape[1]
    tokens = given.tokens
    if settings.permute:
        tokens = tokens[shuffled(given, chance, words)]
    if settings.rotate:
        tokens = tokens[turned(given, chance, settings.rotate)]
    count, lengths = span_lengths(given, chance, settings, frame.around)
    hidden = np.bincount(np.repeat(np.arange(len(given)), count), lengths, len(given)).astype(np.int64)
    # A text is a row of places, one for each token that is kept and one for each span; chance says which are spans.
    places = given.length - hidden + count
    owner = np.repeat(np.arange(len(given)), places)
    column = given.start[owner] + ranked(places)
    is_span = lowest(chance.draw(2 * width, PLACE)[given.row[owner], column], owner, places, count)
    size = np.ones(len(owner), np.int64)
    size[is_span] = lengths
    first = np.cumsum(size) - size  # of the place's tokens among all
    kept = ~is_span
    if settings.delete:
        kept &= chance.draw(2 * width, DELETE)[given.row[owner], column] >= settings.delete
    order = np.arange(len(owner), dtype=np.float64)
    damaged = (
        Flat(tokens[first[kept]], owner[kept], order[kept]),
        marks(mask, owner[is_span], order[is_span]),
    )
    source = given.laid(given.woven(*damaged, frame=frame), frame.padding)
    asked = given.woven(given.bodies(), frame=frame)
    target = given.laid(given.delayed(asked, words.opening), frame.padding)
    return paired(source, target, given.laid(asked, frame.padding))


def span_lengths(
    given: Fragments, chance: Chance, settings: CorruptionSettings, around: int
) -> tuple[Numbers, Numbers]:
    """How many spans each text has, (F,), and how long each is.

    The number is share · length / mean, rounded up or down by chance, so that no length is cut to fit a budget; a span
    that reaches over the end of a very short text is.
    """
    width = given.rows.tokens.shape[1]
    wanted = given.length * (settings.share or SHARE) / settings.mean
    count = np.minimum((wanted + chance.draw(width, COUNT)[given.first]).astype(np.int64), given.length)
    owner = np.repeat(np.arange(len(given)), count)
    drawn = np.searchsorted(poisson(settings.mean), chance.draw(width, LENGTH)[given.prefixes(count)], side="right")
    before = np.cumsum(drawn) - drawn
    here = before - before[np.searchsorted(owner, owner)]
    lengths = np.clip(given.length[owner] - here, 0, drawn)
    # Where insertions would make a text longer than its row, each of its spans hides one token instead.
    hidden = np.bincount(owner, lengths, len(given))
    grown = given.length - hidden + count + around > width
    return count, np.where(grown[owner], 1, lengths)


def poisson(mean: float) -> NDArray[np.float64]:
    """The chance of at most 0, 1, … LONGEST-1."""
    return np.cumsum([math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(LONGEST)])


def shuffled(given: Fragments, chance: Chance, words: Words) -> Numbers:
    """Which body token stands at each place once the sentences of every text are in another order, (N,)."""
    ends = words.ends_sentence[given.tokens]
    begins = given.place == 0
    begins[1:] |= ends[:-1] & ~ends[1:]  # a line's end belongs to the sentence before it
    sentence = np.cumsum(begins) - 1
    keys = chance.draw(given.rows.tokens.shape[1], SENTENCE)[given.at][begins][sentence]
    return np.lexsort((given.place, sentence, keys, given.owner))


def turned(given: Fragments, chance: Chance, share: float) -> Numbers:
    """The same where a share of the texts begins at a token chosen evenly, what stood before it coming last."""
    width = given.rows.tokens.shape[1]
    pivot = (chance.draw(width, PIVOT)[given.first] * given.length).astype(np.int64)
    pivot = np.where(chance.draw(width, FATE)[given.first] < share, pivot, 0)
    offset = np.cumsum(given.length) - given.length
    return offset[given.owner] + (given.place + pivot[given.owner]) % given.length[given.owner]
