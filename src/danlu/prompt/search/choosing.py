"""One option for each of several places: label words for classes, segments for a template."""

from collections.abc import Hashable, Sequence
from random import Random
from typing import TypeVar

import numpy as np

from danlu.prompt.search.climbing import climb
from danlu.prompt.search.harness import Searcher

H = TypeVar("H", bound=Hashable)
Choice = tuple[int, ...]  # for each place, the number of the option taken
Options = Sequence[Sequence[H]]  # for each place


def place_by_place(options: Options[H], start: Choice, seed: int = 0, distinct: bool = True) -> Searcher[Choice]:
    """Every option of one place while the others stay, then of the next; begun again elsewhere once nothing helps.

    distinct: no option stands in two places (a word that means two classes).
    """
    chance = Random(seed)
    places = [place for place, each in enumerate(options) if len(each) > 1]

    def neighbours(choice: Choice, turn: int) -> list[Choice]:
        place = places[turn % len(places)]
        others = ((*choice[:place], option, *choice[place + 1 :]) for option in range(len(options[place])))
        return [other for other in others if other != choice and (not distinct or is_distinct(options, other))]

    def again() -> Choice:
        return drawn(options, chance, distinct)

    return climb([start], neighbours, again, stale=len(places)) if places else climb([start], lambda *_: [])


def learnt_policy(
    options: Options[H], seed: int = 0, *, batch: int = 16, rate: float = 16.0, distinct: bool = False
) -> Searcher[Choice]:
    """A probability for each option of each place, learnt by policy gradient (REINFORCE, Williams 1992).

    The reward of a candidate is his rank in his batch, from -1/2 to 1/2: what counts is who is better, not by how much.
    """
    chance = np.random.default_rng(seed)
    weights = [np.zeros(len(each)) for each in options]
    while True:
        shares = [_softmax(each) for each in weights]
        draws = [_drawn_from(shares, options, chance, distinct) for _ in range(batch)]
        scores = yield draws
        order = sorted(range(batch), key=lambda number: scores[number])
        reward = np.empty(batch)
        reward[order] = np.linspace(-0.5, 0.5, batch)
        for place, share in enumerate(shares):
            for number, choice in enumerate(draws):
                weights[place] -= rate * reward[number] / batch * share
                weights[place][choice[place]] += rate * reward[number] / batch


def drawn(options: Options[H], chance: Random, distinct: bool = True) -> Choice:
    """Each place's option at random."""
    for _ in range(TRIES):
        choice = tuple(chance.randrange(len(each)) for each in options)
        if not distinct or is_distinct(options, choice):
            return choice
    return choice


def is_distinct(options: Options[H], choice: Choice) -> bool:
    taken = [each[number] for each, number in zip(options, choice, strict=True)]
    return len(set(taken)) == len(taken)


TRIES = 100


def _drawn_from(
    shares: Sequence[np.ndarray], options: Options[H], chance: np.random.Generator, distinct: bool
) -> Choice:
    for _ in range(TRIES):
        choice = tuple(int(chance.choice(len(share), p=share)) for share in shares)
        if not distinct or is_distinct(options, choice):
            return choice
    return choice


def _softmax(weights: np.ndarray) -> np.ndarray:
    raised = np.exp(weights - weights.max())
    return np.asarray(raised / raised.sum())
