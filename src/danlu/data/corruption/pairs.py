"""Rows of two texts: does the second follow the first (BERT), or are they swapped (ALBERT)?"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from danlu.data.batch import IGNORED
from danlu.data.corpus import Corpus, Numbers
from danlu.data.corruption.fragments import Flat, Fragments, marks
from danlu.data.corruption.words import Words
from danlu.data.order import Chance
from danlu.data.packing import Packed, Rows

CUT, FATE, OTHER = range(10, 13)  # streams of chance, apart from those of what is done to the rows later


class PairRows(Rows):
    """[CLS] A [SEP] B [SEP]: each fragment of a document cut in two, behind a sentence near its middle if there is one.

    Half of the pairs stay as they are. The others get another B, as long, from elsewhere (Devlin et al. 2018, 3.1) or,
    with `swapped`, stand in the wrong order (Lan et al. 2019, 3.1). A fragment of one token is no pair.
    """

    def __init__(self, corpus: Corpus, length: int, words: Words, swapped: bool, language: int | None = None):
        self.framed_once, self.words, self.swapped = words.frame, words, swapped
        frame = replace(self.framed_once, suffix=2 * self.framed_once.suffix)
        super().__init__(corpus, length, frame, language=language)

    def take(self, indices: ArrayLike, chance: Chance | None = None) -> Packed:
        """The rows of these numbers, (B, length), with `segments` 0 and 1, and `pairs`: at the first token of a pair
        0 where it is right and 1 where it is wrong. Without chance all are right."""
        rows = super().take(indices)
        given, width = Fragments.of(rows, self.frame), rows.tokens.shape[1]
        cuts, fate = (
            np.ones(rows.tokens.shape) if chance is None else chance.draw(width, each) for each in (CUT, FATE)
        )
        cut = self._cuts(given, cuts)
        is_pair = cut > 0
        wrong = is_pair & (fate[given.first] < 0.5)
        behind = (given.place >= cut[given.owner]) & is_pair[given.owner]
        tokens, kept = given.tokens, np.ones(len(given.owner), bool)
        if self.swapped:
            behind ^= wrong[given.owner]
        elif chance is not None:
            tokens, kept = self._with_strangers(given, behind & wrong[given.owner], cut, chance)
        text = Flat(tokens[kept], given.owner[kept], (given.place + width * behind)[kept].astype(np.float64))
        pair = np.flatnonzero(is_pair)
        between = [marks(token, pair, np.full(len(pair), width - 0.5)) for token in self.framed_once.suffix]
        whole = given.woven(text, *between, frame=self.framed_once)
        segments = (whole.place >= width) & is_pair[whole.owner]
        first = np.diff(whole.owner, prepend=-1) > 0
        answers = np.where(first & is_pair[whole.owner], wrong[whole.owner], IGNORED)
        laid = [
            given.laid(whole._replace(tokens=each), fill, width)
            for each, fill in ((whole.tokens, self.frame.padding), (segments, 0), (answers, IGNORED))
        ]
        languages = None if self.language is None else np.full_like(laid[0].tokens, self.language)
        return laid[0]._replace(segments=laid[1].tokens, pairs=laid[2].tokens, languages=languages)

    def _cuts(self, given: Fragments, chance: NDArray[np.float64]) -> Numbers:
        """How long A is, (F,); 0 where there is no pair."""
        place, length = given.place, given.length[given.owner]
        inner = (place >= length / 4) & (place <= 3 * length / 4)
        ends, after_sentence = self.words.ends_sentence[given.tokens], np.zeros(len(place), bool)
        after_sentence[1:] = ends[:-1] & ~ends[1:]
        score = np.where(place == 0, -1, chance[given.at] + 2 * inner + 4 * (inner & after_sentence))
        best = np.lexsort((score, given.owner))[np.cumsum(given.length) - 1]
        return place[best]

    def _with_strangers(
        self, given: Fragments, foreign: NDArray[np.bool_], cut: Numbers, chance: Chance
    ) -> tuple[Numbers, NDArray[np.bool_]]:
        """The body tokens with those that are `foreign` taken from anywhere in the corpus, and which of them there are:
        the other text comes from one document, which may be too short."""
        corpus = self.corpus
        ends = np.cumsum(corpus.lengths)
        drawn = (chance.draw(given.rows.tokens.shape[1], OTHER)[given.first] * ends[-1]).astype(np.int64)
        document = np.searchsorted(ends, drawn, side="right")
        long = corpus.lengths[document]
        spare = np.maximum(long - (given.length - cut), 0)
        begin = (drawn - (ends[document] - long)) * (spare + 1) // long
        place = (given.place - cut[given.owner]) + begin[given.owner]
        there = place < long[given.owner]
        tokens, taken = given.tokens.copy(), foreign & there
        tokens[taken] = corpus.tokens.take((corpus.starts[document][given.owner] + place)[taken])
        return tokens, ~foreign | there
