import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from danlu.evaluate.intervals import bootstrap, compare, mean_of_groups


def skewed(count: int = 80, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(2.0, count)


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_ends_agree_with_scipy(method: str) -> None:
    ours = bootstrap(skewed(), method=method, draws=8000)
    theirs = scipy_bootstrap((skewed(),), np.mean, method={"bca": "BCa"}.get(method, method), n_resamples=8000, rng=1)
    width = ours.high - ours.low
    assert ours.value == pytest.approx(skewed().mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * width)


def test_bca_leans_to_the_long_tail() -> None:
    plain, leaning = bootstrap(skewed(), method="percentile"), bootstrap(skewed())
    assert leaning.high > plain.high
    assert leaning.low > plain.low


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_coverage(level: float) -> None:
    hits = 0
    for seed in range(300):
        found = bootstrap(skewed(60, seed), level=level, draws=400, seed=seed)
        hits += found.low <= 2.0 <= found.high
    assert hits / 300 == pytest.approx(level, abs=0.06)


def test_weighted_mean_is_the_ratio_of_sums() -> None:
    losses, tokens = np.array([3.0, 40.0, 5.0, 9.0]), np.array([1, 20, 2, 3])
    found = bootstrap(losses, tokens)
    assert found.value == pytest.approx(57 / 26)
    assert found.low <= found.value <= found.high
    assert found.count == 4


def test_yes_and_no_take_the_short_way_to_the_same_place() -> None:
    right = np.arange(500) < 340
    short = bootstrap(right)
    long = bootstrap(right.astype(float) + 1e-12)
    assert (short.low, short.high) == pytest.approx((long.low, long.high), abs=0.01)


def test_the_same_seed_gives_the_same_interval() -> None:
    assert bootstrap(skewed(), seed=5) == bootstrap(skewed(), seed=5)
    assert bootstrap(skewed(), seed=5) != bootstrap(skewed(), seed=6)


def test_one_row_or_none_has_no_interval() -> None:
    assert math.isnan(bootstrap([2.0]).low)
    assert bootstrap([2.0]).value == 2.0
    assert math.isnan(bootstrap([]).value)


def test_equal_rows_have_no_spread() -> None:
    found = bootstrap([3.0] * 20)
    assert (found.low, found.value, found.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize("count", [5, 100])
def test_all_right_is_not_certainty(count: int) -> None:
    found, failed = bootstrap(np.ones(count)), bootstrap(np.zeros(count))
    exact = binomtest(count, count).proportion_ci(0.95, "exact")
    assert (found.low, found.value, found.high) == pytest.approx((exact.low, 1, 1))
    assert (failed.low, failed.value, failed.high) == pytest.approx((0, 0, 1 - exact.low))


def test_mapped_keeps_the_order() -> None:
    found = bootstrap(skewed()).mapped(math.exp)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("shift", "larger_is_better", "verdict"),
    [(0.5, True, "better"), (0.5, False, "worse"), (-0.5, True, "worse"), (0.0, True, "no difference shown")],
)
def test_compare(shift: float, larger_is_better: bool, verdict: str) -> None:
    first = skewed(200)
    second = first + shift + np.random.default_rng(9).normal(0, 1, 200)
    assert compare(first, second, larger_is_better=larger_is_better).verdict == verdict


def test_pairing_shows_what_separate_intervals_hide() -> None:
    first = skewed(50)
    second = first + 0.1
    apart = bootstrap(first), bootstrap(second)
    assert apart[0].high > apart[1].low
    assert compare(first, second).verdict == "better"


def test_a_run_against_itself() -> None:
    assert compare(skewed(), skewed()).verdict == "no difference shown"


def test_groups_count_the_same_whatever_their_size() -> None:
    groups = [np.array([1.0] * 90 + [0.0] * 10), np.array([0.0, 1.0] * 5)]
    found = mean_of_groups(groups)
    assert found.value == pytest.approx(0.7)
    spread = 0.5 * math.sqrt(0.9 * 0.1 / 100 + 0.25 / 10)
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert found.count == 110
