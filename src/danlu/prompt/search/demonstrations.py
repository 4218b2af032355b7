"""Which solved examples stand in a prompt, and in which order."""

import math
from collections.abc import Sequence
from random import Random

from danlu.prompt.search.harness import Score, Searcher

Shown = tuple[int, ...]  # numbers of rows, in the order in which they are shown


class Influence:
    """What a row does for the prompts it stands in: their mean value over that of their batch (Nguyen and Wong 2023).

    Few looks say little: the estimate is shrunk, and drawn with the doubt that remains.
    """

    def __init__(self) -> None:
        self.sums: dict[int, float] = {}
        self.counts: dict[int, int] = {}
        self.squares, self.total = 0.0, 0

    def learn(self, batch: Sequence[Shown], scores: Sequence[Score]) -> None:
        for rung in {score.rung for score in scores}:  # values of other rows are not compared
            here = [(shown, score.value) for shown, score in zip(batch, scores, strict=True) if score.rung == rung]
            mean = sum(value for _, value in here) / len(here)
            for shown, value in here:
                self.squares, self.total = self.squares + (value - mean) ** 2, self.total + 1
                for row in shown:
                    self.sums[row] = self.sums.get(row, 0.0) + value - mean
                    self.counts[row] = self.counts.get(row, 0) + 1

    def drawn(self, row: int, chance: Random) -> float:
        count = self.counts.get(row, 0)
        spread = math.sqrt(self.squares / max(1, self.total) / (count + 1))
        return self.sums.get(row, 0.0) / (count + 1) + chance.gauss(0, spread)


def demonstrations(
    classes: Sequence[Sequence[int]], each: int, seed: int = 0, *, width: int = 9, first: int = 3, keep: int = 3
) -> Searcher[Shown]:
    """classes: numbers of the rows of each class, of which `each` are shown. width: candidates in a batch; the first
    `first` batches are drawn. Then come versions of the best `keep`: a row that seems to do little exchanged for one of
    its class that seems to do more, two rows in each other's place, and new sets of what seems good.
    """
    chance, influence = Random(seed), Influence()
    held: list[tuple[Shown, Score]] = []
    turn = 0
    while True:
        if turn < first:
            batch = [drawn(classes, each, chance) for _ in range(width)]
        else:
            parents = [held[number % len(held)][0] for number in range(width)]
            batch = [MOVES[number % len(MOVES)](parent, classes, influence, chance)
                     for number, parent in enumerate(parents)]  # fmt: skip
        scores = yield batch
        influence.learn(batch, scores)
        both = {**dict(zip(batch, scores, strict=True)), **dict(held)}
        held = sorted(both.items(), key=lambda pair: pair[1], reverse=True)[:keep]
        turn += 1


def drawn(classes: Sequence[Sequence[int]], each: int, chance: Random) -> Shown:
    """As many of each class, in any order."""
    rows = [row for some in classes for row in chance.sample(list(some), min(each, len(some)))]
    chance.shuffle(rows)
    return tuple(rows)


def exchanged(shown: Shown, classes: Sequence[Sequence[int]], influence: Influence, chance: Random) -> Shown:
    """The row that seems to do least for the one of its class that seems to do most; the same where all are shown."""
    worth = {row: influence.drawn(row, chance) for some in classes for row in some}
    for out in sorted(shown, key=lambda row: worth[row]):
        home = next(some for some in classes if out in some)
        others = [row for row in home if row not in shown]
        if others:
            into = max(others, key=lambda row: worth[row])
            return tuple(into if row == out else row for row in shown)
    return shown


def swapped(shown: Shown, classes: Sequence[Sequence[int]], influence: Influence, chance: Random) -> Shown:
    first, second = (chance.randrange(len(shown)) for _ in range(2))
    rows = list(shown)
    rows[first], rows[second] = rows[second], rows[first]
    return tuple(rows)


def composed(shown: Shown, classes: Sequence[Sequence[int]], influence: Influence, chance: Random) -> Shown:
    """A new set of the rows that seem to do most, in any order."""
    rows = []
    for some in classes:
        worth = {row: influence.drawn(row, chance) for row in some}
        rows += sorted(some, key=lambda row: -worth[row])[: sum(row in some for row in shown)]
    chance.shuffle(rows)
    return tuple(rows)


MOVES = (exchanged, swapped, composed)
