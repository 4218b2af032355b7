"""Evolution: of a population the better ones have children, whoever makes them: rules, a model, or your own function
(EvoPrompt, Guo et al. 2024; OPRO, Yang et al. 2024)."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from random import Random
from typing import TypeVar

from danlu.prompt.search.harness import Score, Searcher

H = TypeVar("H", bound=Hashable)
# The best so far with their scores, the best first, and how many children are wanted -> children, or fewer.
Mutator = Callable[[Sequence[tuple[H, Score]], int], Sequence[H]]


def evolve(starts: Sequence[H], mutator: Mutator[H], *, keep: int = 8, batch: int = 9) -> Searcher[H]:
    """The best `keep` of all so far are shown to the mutator each generation. It ends when he has nothing new to say
    for three generations."""
    held = _ranked(zip(starts, (yield starts), strict=True), keep)
    known, silent = set(starts), 0
    while silent < 3:
        children = [each for each in dict.fromkeys(mutator(held, batch)) if each not in known][:batch]
        silent = 0 if children else silent + 1
        if children:
            known.update(children)
            held = _ranked([*held, *zip(children, (yield children), strict=True)], keep)


def crossing(cross: Callable[[H, H, Random], H], mutate: Callable[[H, Random], H], seed: int = 0) -> Mutator[H]:
    """A mutator of rules: each child is of two parents, the better the likelier, and changed a little."""
    chance = Random(seed)

    def children(held: Sequence[tuple[H, Score]], count: int) -> list[H]:
        def parent() -> H:
            return held[min(chance.randrange(len(held)), chance.randrange(len(held)))][0]

        return [mutate(cross(parent(), parent(), chance), chance) for _ in range(count)]

    return children


def crossed(first: tuple[str, ...], second: tuple[str, ...], chance: Random) -> tuple[str, ...]:
    """The beginning of one sequence and the end of the other, cut at about the same place."""
    share = chance.random()
    return (*first[: round(share * len(first))], *second[round(share * len(second)) :]) or first


def _ranked(scored: Iterable[tuple[H, Score]], keep: int) -> list[tuple[H, Score]]:
    return sorted(scored, key=lambda each: each[1], reverse=True)[:keep]
