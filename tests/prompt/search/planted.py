"""Toy problems whose best answer is known, with rows that are as noisy as real ones."""

from collections.abc import Callable, Hashable
from difflib import SequenceMatcher
from random import Random
from typing import Any

import numpy as np

from danlu.prompt.search.choosing import Choice, learnt_policy, place_by_place
from danlu.prompt.search.choosing import drawn as drawn_choice
from danlu.prompt.search.demonstrations import demonstrations
from danlu.prompt.search.demonstrations import drawn as drawn_rows
from danlu.prompt.search.drawing import at_random, in_order
from danlu.prompt.search.edits import Thesaurus, edited, edits
from danlu.prompt.search.evolution import crossed, crossing, evolve
from danlu.prompt.search.harness import Look, Searcher
from danlu.prompt.search.triggers import triggers
from danlu.prompt.search.vectors import evolution_strategy

ROWS = 48
HARD = [(row * 29 % ROWS + 0.5) / ROWS for row in range(ROWS)]  # any beginning is as hard as the whole


class Planted:
    """quality: how good a candidate truly is, from 0 to 1: the share of rows he gets right."""

    def __init__(
        self, hand: Hashable, quality: Callable[[Any], float], ours: Callable[[], Searcher],
        random: Callable[[], Searcher],
    ):  # fmt: skip
        self.hand, self.quality, self.ours, self.random = hand, quality, ours, random

    def score(self, candidate: Any, rows: range) -> Look:
        """Right or wrong a row, as likely as the candidate is good; some rows are hard for all. The same for ever."""
        chance = Random(repr(candidate))
        luck = [chance.gauss(0, 0.15) for _ in range(rows.stop)]
        quality = self.quality(candidate)
        return Look([float(HARD[row] + luck[row] < quality) for row in rows], len(rows))


def words(seed: int) -> Planted:
    """For each of 5 classes the right one of 12 words."""
    options = [[f"{place}-{option}" for option in range(12)] for place in range(5)]
    best = drawn_choice(options, Random(f"planted {seed}"))

    def quality(choice: Choice) -> float:
        return 0.1 + 0.8 * sum(a == b for a, b in zip(choice, best, strict=True)) / 5

    start = (0,) * 5
    return Planted(start, quality, lambda: place_by_place(options, start, seed),
                   lambda: at_random(lambda chance: drawn_choice(options, chance), seed))  # fmt: skip


def policy(seed: int) -> Planted:
    plain = words(seed)
    options = [[f"{place}-{option}" for option in range(12)] for place in range(5)]
    return Planted(plain.hand, plain.quality, lambda: learnt_policy(options, seed), plain.random)


def shown(seed: int) -> Planted:
    """4 classes of 16 rows; rows are better or worse examples, and the best one should come last."""
    worth = np.random.default_rng([seed, 7]).random(64)
    classes = [range(start, start + 16) for start in (0, 16, 32, 48)]

    def quality(rows: tuple[int, ...]) -> float:
        return float(0.7 * np.mean(worth[list(rows)]) + 0.3 * worth[rows[-1]])

    return Planted((0, 16, 32, 48), quality, lambda: demonstrations(classes, 2, seed),
                   lambda: at_random(lambda chance: drawn_rows(classes, 2, chance), seed))  # fmt: skip


VOCABULARY = [f"w{number}" for number in range(40)]


def text(seed: int) -> tuple[tuple[str, ...], Callable[[Any], float], Callable[[Any, int], list[str]]]:
    """A hidden sentence of 6 words, a start that resembles it, and synonyms among which the right word is."""
    chance = Random(f"planted {seed}")
    target = tuple(chance.sample(VOCABULARY, 6))
    start = list(target)
    for place in chance.sample(range(6), 3):
        start[place] = chance.choice(VOCABULARY)
    for _ in range(4):
        start.insert(chance.randrange(len(start)), chance.choice(VOCABULARY))

    def synonyms(each: tuple[str, ...], place: int) -> list[str]:
        number = VOCABULARY.index(each[place]) if each[place] in VOCABULARY else 0
        return [VOCABULARY[(number + step) % 40] for step in (1, 7, 13, 19, 25, 31)] + list(target[:2])

    def quality(each: tuple[str, ...]) -> float:
        return 0.1 + 0.85 * SequenceMatcher(None, each, target, autojunk=False).ratio()

    return tuple(start), quality, synonyms


def _random_edits(start: tuple[str, ...], synonyms: Any, seed: int) -> Searcher:
    thesaurus = Thesaurus(synonyms, start)
    return at_random(lambda chance: edited(start, chance, thesaurus, chance.randint(1, 8)), seed)


def editing(seed: int) -> Planted:
    start, quality, synonyms = text(seed)
    return Planted(
        start,
        quality,
        lambda: edits(start, Thesaurus(synonyms, start), seed),
        lambda: _random_edits(start, synonyms, seed),
    )


def evolving(seed: int) -> Planted:
    start, quality, synonyms = text(seed)
    thesaurus = Thesaurus(synonyms, start)
    chance = Random(seed)
    first = [start, *(edited(start, chance, thesaurus) for _ in range(8))]

    def ours() -> Searcher:
        return evolve(first, crossing(crossed, lambda each, chance: edited(each, chance, thesaurus), seed))

    return Planted(start, quality, ours, lambda: _random_edits(start, synonyms, seed))


def gradient(seed: int) -> Planted:
    """4 trigger tokens of 200; the gradient points the right way, roughly."""
    chance = np.random.default_rng([seed, 7])
    worth = chance.standard_normal((4, 200))
    seen = worth + 0.7 * chance.standard_normal((4, 200))
    start = (0, 0, 0, 0)

    def quality(tokens: tuple[int, ...]) -> float:
        return float(np.clip(0.3 + 0.07 * sum(worth[place, token] for place, token in enumerate(tokens)), 0, 1))

    def draw(chance: Random) -> tuple[int, ...]:
        return tuple(chance.randrange(200) for _ in range(4))

    return Planted(start, quality, lambda: triggers(start, lambda _, place: list(np.argsort(-seen[place])), seed),
                   lambda: at_random(draw, seed))  # fmt: skip


def vectors(seed: int) -> Planted:
    """A point in 10 dimensions."""
    target = np.random.default_rng([seed, 7]).standard_normal(10)

    def quality(numbers: tuple[float, ...]) -> float:
        return float(np.exp(-np.linalg.norm(np.asarray(numbers) - target) / 4))

    def draw(chance: Random) -> tuple[float, ...]:
        return tuple(chance.gauss(0, 1) for _ in range(10))

    return Planted((0.0,) * 10, quality, lambda: evolution_strategy(10, seed), lambda: at_random(draw, seed, 20))


def listed(seed: int) -> Planted:
    """3,000 templates that a model wrote, ranked by a likelihood that says something about their worth."""
    chance = np.random.default_rng([seed, 7])
    worth = np.clip(0.35 + 0.13 * chance.standard_normal(3000), 0, 1)
    order = np.argsort(-(worth + 0.13 * chance.standard_normal(3000))).tolist()
    mixed = chance.permutation(3000).tolist()
    return Planted(order[-1], lambda number: float(worth[number]), lambda: in_order(order), lambda: in_order(mixed))


PROBLEMS = {
    "label words": words, "demonstrations": shown, "edits": editing, "triggers": gradient, "vectors": vectors,
    "filled in": listed, "evolution": evolving, "policy": policy,
}  # fmt: skip
