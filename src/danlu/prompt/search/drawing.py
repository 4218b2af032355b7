"""Candidates without any plan: drawn at random, or taken from a list. What every other way has to beat."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from danlu.prompt.search.harness import Searcher

C = TypeVar("C")


def at_random(draw: Callable[[Random], C], seed: int = 0, batch: int = 9) -> Searcher[C]:
    """Each candidate by itself."""
    chance = Random(seed)
    while True:
        yield [draw(chance) for _ in range(batch)]


def in_order(candidates: Sequence[C], batch: int = 9) -> Searcher[C]:
    """The candidates of a list that has the likeliest first: what rules or a model wrote and ranked."""
    for start in range(0, len(candidates), batch):
        yield candidates[start : start + batch]
