"""Which solved examples are shown before which question."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from danlu.prompt.spec import Demonstration, Demonstrations
from danlu.tasks.task import Row


def demonstrations(settings: Demonstrations, rows: Sequence[Row]) -> list[list[Demonstration]]:
    """The demonstrations of each row, in the order in which they are shown. The same settings, the same choice."""
    pool = list(settings.pool)
    count = min(settings.count, len(pool))
    if not count:
        return [[] for _ in rows]
    if settings.selector == "nearest":
        ranks = _by_likeness(pool, rows)
        chosen = [[pool[at] for at in reversed(_first(pool, rank, count, settings.balance))] for rank in ranks]
    else:
        rank = list(range(len(pool)))
        if settings.selector == "random":
            random.Random(f"pool {settings.seed}").shuffle(rank)
        chosen = [[pool[at] for at in _first(pool, rank, count, settings.balance)]] * len(rows)
    return [_ordered(some, settings) for some in chosen]


def _first(pool: Sequence[Demonstration], rank: Sequence[int], count: int, balance: bool) -> list[int]:
    """The first of a ranking; balanced, the classes take turns."""
    if not balance:
        return list(rank[:count])
    by_class: dict[str, list[int]] = defaultdict(list)
    for at in rank:
        by_class[pool[at].label].append(at)
    turns = [some[turn] for turn in range(len(rank)) for some in by_class.values() if turn < len(some)]
    return turns[:count]


def _ordered(chosen: list[Demonstration], settings: Demonstrations) -> list[Demonstration]:
    if settings.order == "reversed":
        return chosen[::-1]
    if settings.order == "shuffled":
        return random.Random(f"order {settings.seed}").sample(chosen, len(chosen))
    return chosen


def _by_likeness(pool: Sequence[Demonstration], rows: Sequence[Row]) -> list[list[int]]:
    """For each row the pool's numbers, the most alike first: by the cosine of their weighted letter groups (Salton and
    Buckley 1988), which needs no model and no words between spaces."""
    known = [" ".join(each.values.values()) for each in pool]
    names = list(pool[0].values)
    asked = [" ".join(str(row.values.get(name, "")) for name in names) for row in rows]
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
    table = letters.fit_transform(known)
    alike = np.asarray((letters.transform(asked) @ table.T).todense())
    return [np.argsort(-row, kind="stable").tolist() for row in alike]
