"""Every way of searching finds more than chance does for the same money."""

from pathlib import Path

import pytest
from planted import PROBLEMS, ROWS, Planted

from danlu.prompt.search.harness import Budget, Found, Halving, Search, Searcher
from danlu.prompt.search.ledger import Ledger

TOKENS = 9600  # 200 looks at all rows
FEW = {"filled in": 1600}  # of a list, chance finds good ones as well once it has seen a tenth
ALL = {"vectors"}  # looked at on all rows at once, as an evolution strategy wants it


def found(problem: Planted, searcher: Searcher, path: Path, tokens: int, halving: Halving) -> Found:
    ledger = Ledger(path, {"problem": "planted"})
    search = Search(problem.score, ROWS, ledger, repr, Budget(tokens=tokens), halving)
    return search.run(searcher, problem.hand)


@pytest.mark.parametrize("name", PROBLEMS)
def test_better_than_random(name: str, tmp_path: Path) -> None:
    """At the same number of tokens, in at least 9 of 10 seeds, by what candidates are truly worth."""
    how = FEW.get(name, TOKENS), Halving(first=0) if name in ALL else Halving()
    wins = 0
    for seed in range(10):
        problem = PROBLEMS[name](seed)
        ours = found(problem, problem.ours(), tmp_path / f"ours-{seed}", *how)
        random = found(problem, problem.random(), tmp_path / f"random-{seed}", *how)
        assert max(ours.tokens, random.tokens) < how[0] + ROWS
        wins += problem.quality(ours.top) > problem.quality(random.top)
    assert wins >= 9, wins
