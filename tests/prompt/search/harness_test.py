"""The harness: what a budget allows, who goes on to more rows, who wins."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from danlu.prompt.search.climbing import climb
from danlu.prompt.search.drawing import in_order
from danlu.prompt.search.harness import Budget, Halving, Look, Score, Search, Searcher
from danlu.prompt.search.ledger import Ledger

ROWS = 36


def value(candidate: int, rows: range) -> Look:
    """Candidate 7 is right in every row, the others in as many tenths of them as they are large."""
    return Look([1.0 if candidate == 7 or row % 10 < candidate % 7 else 0.0 for row in rows], 5 * len(rows))


def new(path: Path, budget: Budget = Budget(), halving: Halving = Halving()) -> Search[int]:  # noqa: B008
    return Search(value, ROWS, Ledger(path / "ledger.jsonl", {}), lambda each: each, budget, halving)


def test_finds_the_best(tmp_path: Path) -> None:
    found = new(tmp_path).run(in_order(list(range(20)), 5), hand=1)
    assert (found.best, found.top, found.value, found.kept_hand) == (7, 7, 1.0, False)
    assert found.hand == value(1, range(ROWS)).values.count(1.0) / ROWS
    assert found.candidates == 20
    assert found.value >= found.expected.value


def test_equals_do_not_replace_the_hand_prompt(tmp_path: Path) -> None:
    """Ten candidates that are equally good: the best of them is so by luck, and that is seen."""

    def luck(candidate: int, rows: range) -> Look:
        return Look([float((row * 7 + candidate * 13) % 10 < 6) for row in rows], 1)

    search = Search(luck, 20, Ledger(tmp_path / "ledger.jsonl", {}), lambda each: each, halving=Halving(first=0))
    found = search.run(in_order(list(range(1, 10))), hand=0)
    assert found.best == 0
    assert found.optimism > 0 or found.top == 0


@pytest.mark.parametrize(
    ("budget", "looks"), [(Budget(tokens=5 * ROWS), 1), (Budget(tokens=400), 4), (Budget(looks=4), 4)]
)
def test_budget(tmp_path: Path, budget: Budget, looks: int) -> None:
    """No look begins once the tokens, or looks, are spent; the hand prompt's is always taken."""
    found = new(tmp_path, budget).run(in_order(list(range(20)), 5), hand=1)
    assert found.looks == looks


def test_each_search_of_a_ledger_pays_for_itself(tmp_path: Path) -> None:
    """What another search has looked at before is not looked at again, but the search ends where it would alone."""
    budget, halving = Budget(tokens=700), Halving(first=12)
    (tmp_path / "alone").mkdir()
    alone = new(tmp_path / "alone", budget, halving).run(in_order(list(range(20)), 5), hand=1)
    first = new(tmp_path, budget, halving)
    first.run(in_order(list(range(3)), 3), hand=1)
    second = Search(value, ROWS, first.ledger, lambda each: each, budget, halving)
    assert second.run(in_order(list(range(20)), 5), hand=1) == alone


def test_patience(tmp_path: Path) -> None:
    """A searcher that only repeats itself is stopped."""

    def parrot() -> Searcher[int]:
        while True:
            yield [1, 2]

    assert new(tmp_path, Budget(patience=3)).run(parrot(), hand=1).candidates == 2


def test_halving_looks_at_fewer_rows(tmp_path: Path) -> None:
    told: list[Sequence[Score]] = []

    def once() -> Searcher[int]:
        told.append((yield list(range(9))))

    halved = new(tmp_path, halving=Halving(first=12)).run(once(), hand=1)
    assert [score.rung for score in told[0]].count(0) == 6
    assert max(told[0]) == told[0][7] == Score(1, 1.0)
    whole = new(tmp_path / "whole", halving=Halving(first=0)).run(once(), hand=1)
    assert [score.rung for score in told[1]] == [0] * 9
    assert halved.tokens < whole.tokens
    assert halved.best == whole.best == 7


@pytest.mark.parametrize(
    ("halving", "rungs"),
    [(Halving(), [16, 48, 100]), (Halving(first=4), [4, 12, 36, 100]), (Halving(first=0), [100]),
     (Halving(first=90), [100]), (Halving(first=10, factor=2), [10, 20, 40, 100])],
)  # fmt: skip
def test_rungs(halving: Halving, rungs: list[int]) -> None:
    assert halving.rungs(100) == rungs


def test_nothing_is_looked_at_twice(tmp_path: Path) -> None:
    taken: list[tuple[int, int]] = []

    def counted(candidate: int, rows: range) -> Look:
        taken.extend((candidate, row) for row in rows)
        return value(candidate, rows)

    search = Search(counted, ROWS, Ledger(tmp_path / "ledger.jsonl", {}), lambda each: each)
    search.run(climb([0], lambda each, turn: [each + 1, each - 1, 7, 2], stale=3), hand=0)
    assert len(taken) == len(set(taken))


def test_climb_begins_again(tmp_path: Path) -> None:
    """From 20 every way leads down; begun again at 6 it finds 7."""

    def hill(candidate: int, rows: range) -> Look:
        height = {20: 0.5, 6: 0.3, 7: 1.0}.get(candidate, 0.1)
        return Look([float(row / ROWS < height) for row in rows], 1)

    search = Search(hill, ROWS, Ledger(tmp_path / "ledger.jsonl", {}), lambda each: each)
    found = search.run(climb([20], lambda each, turn: [each - 1, each + 1], lambda: 6, stale=2), hand=20)
    assert found.best == 7


def test_the_same_answer_is_not_paid_twice(tmp_path: Path) -> None:
    search = new(tmp_path, Budget(tokens=1000))
    assert search.answer("question", lambda: ("yes", 600)) == "yes"
    assert search.answer("question", lambda: ("no", 600)) == "yes"
    assert search.ledger.tokens == 600
