"""Editing the words of a prompt: delete, swap, exchange for a synonym, put back (GrIPS, Prasad et al. 2022)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from danlu.prompt.search.climbing import climb
from danlu.prompt.search.harness import Searcher

Words = tuple[str, ...]
Synonyms = Callable[[Words, int], Sequence[str]]  # words, and a place -> what may stand there instead
Edit = Callable[[Words, Random, "Thesaurus"], Words]


@dataclass(frozen=True)
class Thesaurus:
    """synonyms: what may stand in a word's place. known: words that may be put in. fits: whether a prompt is left."""

    synonyms: Synonyms
    known: Words
    fits: Callable[[Words], bool] = lambda words: True


def edits(
    start: Words, thesaurus: Thesaurus, seed: int = 0, *, width: int = 9, beam: int = 2, deep: int = 2
) -> Searcher[Words]:
    """width: edited versions of each of the best `beam` that are looked at in a turn. deep: edits at once, at most."""
    chance = Random(seed)

    def neighbours(words: Words, turn: int) -> list[Words]:
        return [edited(words, chance, thesaurus, chance.randint(1, deep)) for _ in range(width)]

    return climb([start], neighbours, lambda: edited(start, chance, thesaurus, 2 * deep), beam=beam)


def edited(words: Words, chance: Random, thesaurus: Thesaurus, times: int = 1) -> Words:
    """So many edits, one after the other, of kinds drawn at random; one that fits no more is taken back."""
    for _ in range(times):
        found = EDITS[chance.choice(list(EDITS))](words, chance, thesaurus)
        words = found if thesaurus.fits(found) else words
    return words


def delete(words: Words, chance: Random, thesaurus: Thesaurus) -> Words:
    """Leave a stretch of one to three words out; not all of them."""
    if len(words) < 2:
        return words
    count = chance.randint(1, min(3, len(words) - 1))
    first = chance.randint(0, len(words) - count)
    return words[:first] + words[first + count :]


def swap(words: Words, chance: Random, thesaurus: Thesaurus) -> Words:
    """Two words in each other's place."""
    if len(words) < 2:
        return words
    first, second = sorted(chance.sample(range(len(words)), 2))
    return (*words[:first], words[second], *words[first + 1 : second], words[first], *words[second + 1 :])


def exchange(words: Words, chance: Random, thesaurus: Thesaurus) -> Words:
    """A synonym in a word's place; the same where there is none."""
    if not words:
        return words
    place = chance.randrange(len(words))
    others = [other for other in thesaurus.synonyms(words, place) if other != words[place]]
    return (*words[:place], chance.choice(others), *words[place + 1 :]) if others else words


def put_back(words: Words, chance: Random, thesaurus: Thesaurus) -> Words:
    """A word of the beginning, anywhere."""
    if not thesaurus.known:
        return words
    place = chance.randint(0, len(words))
    return (*words[:place], chance.choice(thesaurus.known), *words[place:])


EDITS: Mapping[str, Edit] = {"delete": delete, "swap": swap, "exchange": exchange, "put back": put_back}
