import numpy as np
import pytest

from danlu.evaluate.optimism import chosen, over_runs
from danlu.tasks.metrics import METRICS, Cases, Measured


def run(chance: np.random.Generator, rows: int, share: float) -> Measured:
    said = ["a" if chance.random() < share else "b" for _ in range(rows)]
    return METRICS["accuracy"].of(Cases(said, ["a"] * rows))


def best_of(runs: list[Measured]) -> float:
    return max(float(each.under(np.ones((1, each.count)))[0]) for each in runs)


def test_the_best_of_equals_is_overrated_and_the_correction_sees_it() -> None:
    plain, corrected = [], []
    for seed in range(30):
        chance = np.random.default_rng(seed)
        runs = [run(chance, 150, 0.8) for _ in range(15)]
        plain.append(best_of(runs))
        corrected.append(chosen(runs, draws=300, seed=seed).value)
    assert np.mean(plain) > 0.84
    assert np.mean(corrected) == pytest.approx(0.8, abs=0.012)


def test_what_is_truly_best_keeps_its_value() -> None:
    chance = np.random.default_rng(0)
    runs = [run(chance, 400, 0.6), run(chance, 400, 0.95)]
    assert chosen(runs, draws=300).value == pytest.approx(best_of(runs), abs=0.01)


def test_smaller_is_better() -> None:
    losses = np.random.default_rng(0).exponential(1, (2, 200)) + np.array([[0.0], [2.0]])
    runs = [METRICS["loss"].of(Cases([], [], losses=each)) for each in losses]
    assert chosen(runs, larger_is_better=False, draws=200).value == pytest.approx(losses[0].mean(), abs=0.1)


def test_luck_of_runs_widens_the_interval() -> None:
    chance = np.random.default_rng(0)
    alike = [run(chance, 300, 0.8)] * 3
    apart = [run(chance, 300, share) for share in (0.7, 0.8, 0.9)]
    narrow, wide = over_runs(alike, draws=500), over_runs(apart, draws=500)
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)
    assert narrow.low < narrow.value < narrow.high
    assert wide.value == pytest.approx(0.8, abs=0.04)
