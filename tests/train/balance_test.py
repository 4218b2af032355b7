"""Balancing losses: the papers' formulas, and problems where balance matters."""

import json
import math

import pytest
import torch

from danlu.train.balance import (
    BalanceName,
    Pace,
    Uncertainty,
    balance,
    moved_weights,
    orders,
    wanted_norms,
    without_conflict,
)


def test_uncertainty_finds_the_noise_of_each_loss() -> None:
    """With half squared errors the weights become one over the variance that is left, whatever the scale."""
    rule, noise = Uncertainty(["fine", "coarse"]), {"fine": 0.1, "coarse": 3.0}
    assert rule.weights() == {"fine": 1.0, "coarse": 1.0}
    for _ in range(200):
        rule.learn({name: scale**2 / 2 for name, scale in noise.items()}, {})
    for name, scale in noise.items():
        assert 1 / rule.weights()[name] == pytest.approx(scale**2)
    held = rule.weights()
    rule.learn({"coarse": 0.0}, {})  # nothing left to learn is no division by nothing
    assert rule.weights()["fine"] == held["fine"]
    assert math.isfinite(rule.weights()["coarse"])


def test_pace_favours_what_falls_slowly() -> None:
    rule = Pace(["a", "b"], stretch=2)
    for losses in ({"a": 5.0}, {"b": 4.0, "a": 3.0}):
        assert rule.weights() == {"a": 1.0, "b": 1.0}
        rule.learn(losses, {})
    for losses in ({"a": 1.0}, {"b": 3.6}):
        assert rule.weights() == {"a": 1.0, "b": 1.0}
        rule.learn(losses, {})
    ratio = math.exp(0.25 / 2), math.exp(0.9 / 2)
    assert rule.weights()["a"] == pytest.approx(2 * ratio[0] / sum(ratio))
    assert sum(rule.weights().values()) == pytest.approx(2)


@pytest.mark.parametrize("kind", ["fixed", "uncertainty", "pace", "norms", "surgery"])
def test_what_a_rule_remembers_is_plain(kind: BalanceName) -> None:
    rule, again = balance(kind, ["a", "b"], stretch=3), balance(kind, ["a", "b"], stretch=3)
    for step in range(7):
        rule.learn({"a": 1.0 / (step + 3), "b": 2.0}, {"a": 0.1 * step, "b": 0.3} if rule.apart else {})
    again.read(json.loads(json.dumps(rule.plain())))
    for each in (rule, again):
        each.learn({"a": 0.3, "b": 1.0}, {"a": 0.2, "b": 0.7})
    assert rule.weights() == again.weights()
    assert (rule.weights() == {"a": 1.0, "b": 1.0}) == (kind in ("fixed", "surgery"))


def test_norms_are_brought_together_and_those_that_lag_favoured() -> None:
    even = wanted_norms({"a": 1.0, "b": 3.0}, {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 4.0}, alpha=1.5)
    assert even == {"a": 2.0, "b": 2.0}
    lagging = wanted_norms({"a": 2.0, "b": 2.0}, {"a": 1.0, "b": 3.0}, {"a": 4.0, "b": 4.0}, alpha=1.0)
    assert lagging == {"a": 1.0, "b": 3.0}
    assert wanted_norms({"a": 2.0, "b": 2.0}, {"a": 1.0, "b": 3.0}, {"a": 4.0, "b": 4.0}, alpha=0.0) == {
        "a": 2.0,
        "b": 2.0,
    }


def test_weights_go_to_where_gradients_are_equally_long() -> None:
    own, weights = {"a": 0.01, "b": 5.0}, {"a": 1.0, "b": 1.0}
    for _ in range(400):
        norms = {name: weights[name] * own[name] for name in own}
        weights = moved_weights(weights, norms, wanted_norms(norms, own, own, 0.0), rate=0.02)
        assert sum(weights.values()) == pytest.approx(2)
    assert weights["a"] * own["a"] == pytest.approx(weights["b"] * own["b"], rel=0.1)
    settled = {"a": 1.0, "b": 1.0}
    assert moved_weights(settled, settled, settled, 0.1) == settled


def test_surgery_by_hand() -> None:
    gradients = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    # the first without its part along the second, (1/2, 1/2); the second without its part along the first, (0, 1)
    assert torch.equal(without_conflict(gradients, [[1], [0]]), torch.tensor([0.5, 1.5]))
    agreeing = torch.tensor([[1.0, 0.2], [0.5, 1.0]])
    assert torch.equal(without_conflict(agreeing, [[1], [0]]), agreeing.sum(0))
    assert torch.equal(without_conflict(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), [[1], [0]]), torch.tensor([1.0, 0.0]))


def test_after_surgery_no_loss_of_two_is_stepped_against() -> None:
    chance = torch.Generator().manual_seed(0)
    for _ in range(50):
        gradients = torch.randn(2, 6, generator=chance)
        total = without_conflict(gradients, orders(2, chance))
        assert (gradients @ total >= -1e-5).all()


def test_orders_are_by_chance_alone() -> None:
    first, again = (orders(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first == again
    assert all(sorted([*each, index]) == list(range(5)) for index, each in enumerate(first))
