"""Going on from the best: what label words, demonstrations, edits and triggers have in common."""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from danlu.prompt.search.harness import Score, Searcher

H = TypeVar("H", bound=Hashable)
Neighbours = Callable[[H, int], Sequence[H]]  # of a candidate, at a turn


def climb(
    starts: Sequence[H], neighbours: Neighbours[H], again: Callable[[], H] | None = None, *, beam: int = 1,
    stale: int = 8,
) -> Searcher[H]:  # fmt: skip
    """Of the best `beam` candidates so far, look at the neighbours; the best of all go on.

    After `stale` turns without a better one it begins elsewhere (`again`), or ends.
    """
    turn = 0
    while starts:
        held = _best(list(zip(starts, (yield starts), strict=True)), beam)
        idle = 0
        while idle < stale:
            batch = list(dict.fromkeys(near for each, _ in held for near in neighbours(each, turn)))
            turn, idle = turn + 1, idle + 1
            if batch:
                ranked = _best([*held, *zip(batch, (yield batch), strict=True)], beam)
                idle = 0 if ranked[0][1] > held[0][1] else idle
                held = ranked
        starts = [again()] if again else []


def _best(scored: Sequence[tuple[H, Score]], count: int) -> list[tuple[H, Score]]:
    """Each candidate once; among equals those that came first."""
    ranked = sorted(scored, key=lambda each: each[1], reverse=True)
    return list({each: (each, score) for each, score in reversed(ranked)}.values())[::-1][:count]
