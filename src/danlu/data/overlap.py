"""Text that is kept for testing, found again in what is trained on (Brown et al. 2020, appendix C)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from danlu.data.grams import grams, words_of
from danlu.data.lines import lines, opened
from danlu.data.order import Words
from danlu.data.sources import Source

FEWEST = 6  # words; shorter test texts are said by everybody


@dataclass(frozen=True)
class Kept:
    """The runs of words of test texts, sorted, and where each stands."""

    size: int
    runs: Words
    places: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[tuple[str, str]], size: int) -> "Kept":
        """texts: (where it stands, the text). One shorter than `size` words counts as a whole, line by line."""
        runs, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        names: list[str] = []
        for where, text in texts:
            words = words_of(text)
            if len(words) >= FEWEST:
                found = grams(words, size)
                runs.append(found)
                places.append(np.full(len(found), len(names)))
                names.append(where)
        whole, first = np.unique(np.concatenate(runs), return_index=True)
        return cls(size, whole, np.concatenate(places)[first], tuple(names))

    def found_in(self, text: str) -> str | None:
        """Where the first test text stands that a text shares a run, or a short line, with."""
        parts = [grams(words_of(text), self.size)]
        for line in text.split("\n"):
            words = words_of(line)
            if FEWEST <= len(words) < self.size:
                parts.append(grams(words, self.size))
        runs = np.concatenate(parts)
        if not len(self.runs) or not len(runs):
            return None
        at = np.minimum(np.searchsorted(self.runs, runs), len(self.runs) - 1)
        hits = np.flatnonzero(self.runs[at] == runs)
        return self.names[int(self.places[at[hits[0]]])] if len(hits) else None


def test_texts(found: Iterable[Source], encoding: str) -> Iterator[tuple[str, str]]:
    """Every line of files, whatever they hold; of tables and JSON lines, all that is between their signs."""
    for source in found:
        with opened(source.path) as (file, _):
            for line in lines(file, source.name, encoding):
                for field in line.text.split("\t"):
                    yield f"{source.name}:{line.number}", field
