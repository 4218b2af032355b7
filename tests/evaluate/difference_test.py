"""Runs held against each other: shown where there is a difference, not shown where there is none."""

import numpy as np
import pytest

from danlu.evaluate.intervals import compare, difference, interval
from danlu.tasks.metrics import METRICS, Cases

LABELS = list("abc")


def answers(chance: np.random.Generator, true: list[str], share: float) -> list[str]:
    return [each if chance.random() < share else str(chance.choice(LABELS)) for each in true]


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc"])
def test_runs_that_are_equally_good_are_seldom_told_apart(name: str) -> None:
    shown = 0
    for seed in range(120):
        chance = np.random.default_rng(seed)
        true = chance.choice(LABELS, 60).tolist()
        runs = [Cases(answers(chance, true, 0.7), true) for _ in range(2)]
        found = difference(METRICS[name].of(runs[0] + runs[1]), draws=300, seed=seed)
        shown += found.verdict != "no difference shown"
    assert shown <= 12  # 5 % of 120 are 6


def test_a_better_run_is_told_apart() -> None:
    chance = np.random.default_rng(0)
    true = chance.choice(LABELS, 300).tolist()
    first, second = (Cases(answers(chance, true, share), true) for share in (0.5, 0.8))
    for name in ("accuracy", "macro_f1", "micro_f1", "mcc"):
        found = difference(METRICS[name].of(first + second))
        assert found.verdict == "better"
        assert found.difference.low > 0
        assert difference(METRICS[name].of(second + first)).verdict == "worse"


def test_a_handful_of_rows_that_differ_convinces_nobody() -> None:
    """Five rows out of 200, all in favour: a sign test says 1 in 16, the bootstrap alone would be convinced."""
    first, second = np.zeros(200), np.zeros(200)
    second[:5] = 1
    found = compare(first, second)
    assert found.difference.low > 0
    assert found.verdict == "no difference shown"
    assert found.chance == pytest.approx(2 / 32, abs=0.02)
    second[:9] = 1
    assert compare(first, second).verdict == "better"


def test_smaller_is_better() -> None:
    losses = np.random.default_rng(0).exponential(1, 200)
    first, second = (Cases([], [], losses=each) for each in (losses + 0.3, losses))
    found = difference(METRICS["loss"].of(first + second), larger_is_better=METRICS["loss"].larger_is_better)
    assert found.verdict == "better"
    assert found.difference.value == pytest.approx(-0.3)


def test_interval_of_any_metric_holds_the_truth() -> None:
    """Macro F1 of a known process: the interval of small samples holds the value of a very large one."""
    chance = np.random.default_rng(1)
    many = chance.choice(LABELS, 40_000, p=[0.6, 0.3, 0.1]).tolist()
    truth = METRICS["macro_f1"](answers(chance, many, 0.7), many)
    hits = 0
    for seed in range(150):
        chance = np.random.default_rng(seed)
        true = chance.choice(LABELS, 150, p=[0.6, 0.3, 0.1]).tolist()
        found = interval(METRICS["macro_f1"].of(Cases(answers(chance, true, 0.7), true)), draws=300, seed=seed)
        hits += found.low <= truth <= found.high
    assert 0.88 <= hits / 150 <= 0.99


def test_rank_correlation_has_an_interval() -> None:
    chance = np.random.default_rng(0)
    x = chance.normal(size=100)
    y = x + chance.normal(size=100)
    found = interval(METRICS["spearman"].of(Cases(x, y)))
    assert found.low < found.value < found.high
    assert 0.1 < found.high - found.low < 0.5


def test_what_has_no_spread_says_nothing_of_it() -> None:
    one = interval(METRICS["accuracy"].of(Cases(["a"], ["a"])))
    assert not one.known
    assert "low" not in one.plain()
    perfect = interval(METRICS["macro_f1"].of(Cases(["a", "b"] * 20, ["a", "b"] * 20)))
    assert perfect.value == 1
    assert 0.85 < perfect.low < 0.95


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "calibration"])
def test_rows_that_count_alike_may_be_drawn_as_one_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    true = chance.choice(LABELS, 300).tolist()
    shares = np.round(chance.uniform(0.4, 1, 300), 1).tolist()
    runs = [Cases(answers(chance, true, share), true, shares) for share in (0.6, 0.7)]
    one, two = METRICS[name].of(runs[0]), METRICS[name].of(runs[0] + runs[1])
    short, paired = interval(one), difference(two)
    assert one.kinds() is not None
    monkeypatch.setattr(type(one), "kinds", lambda self: None)
    long, apart = interval(one), difference(two)
    width = long.high - long.low
    assert (short.low, short.high) == pytest.approx((long.low, long.high), abs=0.1 * width)
    wide = apart.difference.high - apart.difference.low
    ends = [(each.difference.low, each.difference.high) for each in (paired, apart)]
    assert ends[0] == pytest.approx(ends[1], abs=0.1 * wide)
    assert paired.chance == pytest.approx(apart.chance, abs=0.04)
