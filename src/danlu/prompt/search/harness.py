"""How a search is carried out, whatever it searches: budget, halving, ledger, and who wins.

A searcher is a generator: it yields candidates and is sent their scores, in the same order, until it has nothing more
to try or the budget is spent. It draws its chance from the seed alone, so the same seed tries the same candidates.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from danlu.evaluate.intervals import Interval
from danlu.evaluate.optimism import chosen
from danlu.prompt.search.ledger import Ledger, key_of
from danlu.settings import Settings
from danlu.tasks.metrics.metric import Added, Floats
from danlu.voice import Bar

C = TypeVar("C")


RIVALS = 300  # the best on all rows, among whom luck is thought to have chosen


class Score(NamedTuple):
    """How good a candidate is. rung: on how many rungs of rows it was looked at; who was dropped earlier is worse,
    whatever his value. value: the mean over the rows he was looked at."""

    rung: int
    value: float


Searcher = Generator[Sequence[C], Sequence[Score], None]


class Budget(Settings):
    """What a search may cost: tokens that models read, and looks at a candidate. Not seconds: on another machine, or
    after a kill, they would end it elsewhere. patience: batches without a candidate that is new, before it ends."""

    tokens: int | None = Field(2_000_000, ge=1)
    looks: int | None = Field(None, ge=1)
    patience: int = Field(30, ge=1)


class Halving(Settings):
    """Of each batch of candidates, all are looked at on `first` rows, the best of them on `factor` times as many, and
    so on (successive halving, Jamieson and Talwalkar 2016). first=0: all on all rows."""

    first: int = Field(16, ge=0)
    factor: float = Field(3.0, gt=1)

    def rungs(self, rows: int) -> list[int]:
        """How many rows each rung has; the last has all."""
        sizes = []
        size = float(self.first)
        while 0 < size < rows / self.factor**0.5:  # a last step of next to nothing is left out
            sizes.append(int(size))
            size *= self.factor
        return [*sizes, rows]


class Look(NamedTuple):
    """The value of each row, more is better, and the tokens that were read for it."""

    values: Sequence[float]
    tokens: int


@dataclass(frozen=True)
class Found(Generic[C]):
    """What a search came to. best: the candidate to use; it is `hand` unless another is expected to be better on rows
    it was not chosen by. top: the best on the rows to choose by. expected: what to expect of it on others."""

    best: C
    top: C
    value: float
    hand: float
    expected: Interval
    candidates: int
    looks: int
    tokens: int

    @property
    def kept_hand(self) -> bool:
        return self.best != self.top

    @property
    def optimism(self) -> float:
        """By how much the best of so many is overrated by the rows it was chosen by."""
        return self.value - self.expected.value


class Spent(Exception):
    """The budget allows no further look."""


@dataclass
class Search(Generic[C]):
    """score: a candidate, and numbers of rows -> a `Look`. rows: how many there are to choose by, in an order of which
    every beginning is as good as the whole. plain: a candidate as plain data, which names it."""

    score: Callable[[C, range], Look]
    rows: int
    ledger: Ledger
    plain: Callable[[C], Any] = lambda candidate: candidate
    budget: Budget = field(default_factory=Budget)
    halving: Halving = field(default_factory=Halving)
    bar: Bar | None = None
    whole: dict[str, C] = field(default_factory=dict)  # candidates that were looked at on all rows
    seen: dict[str, C] = field(default_factory=dict)
    paid: set[tuple[str, int]] = field(default_factory=set)  # keys, and the first rows of looks
    tokens: int = 0
    looks: int = 0

    def run(self, searcher: Searcher[C], hand: C, seed: int = 0) -> Found[C]:
        """Search until the searcher or the budget ends. hand: the candidate to beat."""
        self._values(hand, self.rows)
        idle = 0
        try:
            batch = next(searcher)
            while idle < self.budget.patience:
                before = len(self.paid)
                scores = self._scores(batch)
                idle = idle + 1 if len(self.paid) == before else 0
                batch = searcher.send(scores)
        except (Spent, StopIteration):
            pass
        finally:
            searcher.close()
        return self._found(hand, seed)

    def answer(self, question: Any, ask: Callable[[], tuple[Any, int]]) -> Any:
        """See `Ledger.answer`; ends the search where there are no tokens left to ask with."""
        key = key_of(question)
        if (key, 0) not in self.paid:
            self._check_budget()
        found = self.ledger.answer(question, ask)
        self._pay(key, 1)
        return found

    def _scores(self, batch: Sequence[C]) -> list[Score]:
        """The best of each rung are looked at on more rows; equal ones in the order they came."""
        scores: dict[int, Score] = {}
        left = list(range(len(batch)))
        for rung, rows in enumerate(self.halving.rungs(self.rows)):
            for place in left:
                values = self._values(batch[place], rows)
                scores[place] = Score(rung, sum(values) / len(values))
            count = ceil(len(left) / self.halving.factor)
            left = sorted(sorted(left, key=lambda place: (-scores[place].value, place))[:count])
        self.ledger.sync()
        return [scores[place] for place in range(len(batch))]

    def _values(self, candidate: C, rows: int) -> list[float]:
        """The first `rows` values of a candidate; those that are not known yet are taken. What an earlier search of the
        same ledger has taken is paid for again, so that a search ends where it would without the other."""
        plain = self.plain(candidate)
        key = key_of(plain)
        known = self.ledger.values.get(key, [])
        if len(known) < rows or any((key, first) not in self.paid for first, _ in self._looks(key, rows)):
            self._check_budget()
        if len(known) < rows:
            look, first = self.score(candidate, range(len(known), rows)), len(known)
            known = self.ledger.measured(key, first, look.values, look.tokens, plain)
        self.looks += self._pay(key, rows)
        self.seen.setdefault(key, candidate)
        if rows == self.rows:
            self.whole.setdefault(key, candidate)
        return known[:rows]

    def _looks(self, key: str, rows: int) -> list[tuple[int, int]]:
        return [each for each in self.ledger.prices.get(key, []) if each[0] < rows]

    def _pay(self, key: str, rows: int) -> int:
        """Count what looks at a candidate, or an answer, cost; how many of them had not been counted."""
        unpaid = [(first, price) for first, price in self._looks(key, rows) if (key, first) not in self.paid]
        for first, price in unpaid:
            self.paid.add((key, first))
            self.tokens += price
            if self.bar:
                self.bar.advance(price, f"{len(self.seen)}")
        return len(unpaid)

    def _check_budget(self) -> None:
        tokens, looks = self.budget.tokens, self.budget.looks
        if (tokens is not None and self.tokens >= tokens) or (looks is not None and self.looks >= looks):
            raise Spent

    def _found(self, hand: C, seed: int) -> Found[C]:
        """The best on all rows, if more than luck speaks for it; among equals the first."""
        values = {key: self.ledger.values[key][: self.rows] for key in self.whole}
        means = {key: sum(each) / self.rows for key, each in values.items()}
        ranked = sorted(means, key=lambda key: -means[key])
        top = ranked[0]
        expected = chosen([_mean(values[key]) for key in ranked[:RIVALS]], seed=seed)
        before = means[key_of(self.plain(hand))]
        best = self.whole[top] if expected.value > before else hand
        return Found(best, self.whole[top], means[top], before, expected, len(self.seen), self.looks, self.tokens)


def _mean(values: Sequence[float]) -> Added:
    return Added(np.stack([np.asarray(values, np.float64), np.ones(len(values))], 1), _ratio)


def _ratio(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])
