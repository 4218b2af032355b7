"""Tokens chosen by the gradient: AutoPrompt's search (Shin et al. 2020)."""

from collections.abc import Callable, Sequence
from random import Random

from danlu.prompt.search.climbing import climb
from danlu.prompt.search.harness import Searcher

Tokens = tuple[int, ...]
# Tokens, and a place among them -> what promises most there, by the gradient of the loss, the best first.
Promising = Callable[[Tokens, int], Sequence[int]]


def triggers(start: Tokens, promising: Promising, seed: int = 0, width: int = 9) -> Searcher[Tokens]:
    """At one place after the other, in an order drawn anew each round, the `width` tokens that promise most are looked
    at, and the best is kept if it is better. Begun again with every token exchanged once no place helps."""
    chance = Random(seed)
    places: list[int] = []

    def neighbours(tokens: Tokens, turn: int) -> list[Tokens]:
        if not places:
            places.extend(chance.sample(range(len(tokens)), len(tokens)))
        place = places.pop()
        others = (other for other in promising(tokens, place) if other != tokens[place])
        return [(*tokens[:place], other, *tokens[place + 1 :]) for other, _ in zip(others, range(width), strict=False)]

    def again() -> Tokens:
        """Something that promises much at every place."""
        return tuple(chance.choice(promising(start, place)[:width]) for place in range(len(start)))

    return climb([start], neighbours, again, stale=2 * len(start))
