"""Balancing losses: the papers' formulas, and problems where balance matters."""

import math

import pytest
import torch
from torch import nn

from danlu.train.balance import (
    Pace,
    Uncertainty,
    flat_gradient,
    moved_weights,
    orders,
    set_gradients,
    wanted_norms,
    without_conflict,
)


def test_uncertainty_finds_the_noise_of_each_loss() -> None:
    """With half squared errors exp(s) becomes the variance that is left, whatever the scale of the targets."""
    torch.manual_seed(0)
    x = torch.randn(4000, 1)
    noise = {"fine": 0.1, "coarse": 3.0}
    targets = {name: x * scale + scale * torch.randn(4000, 1) for name, scale in noise.items()}
    lines, balance = nn.ModuleDict({name: nn.Linear(1, 1) for name in noise}), Uncertainty(list(noise))
    optimizer = torch.optim.Adam([*lines.parameters(), *balance.parameters()], lr=0.05)
    for _ in range(400):
        losses = {name: (lines[name](x) - targets[name]).square().mean() / 2 for name in noise}
        optimizer.zero_grad()
        balance(losses).backward()
        optimizer.step()
    weights = balance.weights()
    for name, scale in noise.items():
        assert 1 / weights[name] == pytest.approx(scale**2, rel=0.1)
    assert float(balance({"fine": torch.tensor(1.0)}).detach()) == pytest.approx(
        weights["fine"] - math.log(weights["fine"]) / 2
    )


def test_pace_favours_what_falls_slowly() -> None:
    pace = Pace()
    assert pace.weights(["a", "b"], 2.0) == {"a": 1.0, "b": 1.0}
    pace = pace.then({"a": 4.0, "b": 4.0}).then({"a": 1.0, "b": 3.6})
    weights = pace.weights(["a", "b"], 2.0)
    ratio = math.exp(0.25 / 2), math.exp(0.9 / 2)
    assert weights["a"] == pytest.approx(2 * ratio[0] / sum(ratio))
    assert sum(weights.values()) == pytest.approx(2)
    assert pace.weights(["a", "b"], 100.0)["a"] == pytest.approx(1, abs=0.01)


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


def test_gradients_as_rows_and_back() -> None:
    torch.manual_seed(0)
    shared, heads = nn.Linear(3, 2), nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    parameters = [*shared.parameters(), *heads.parameters()]
    x = torch.randn(5, 3)
    losses = [head(shared(x)).square().mean() for head in heads]
    rows = torch.stack([flat_gradient(loss, parameters) for loss in losses])
    set_gradients(rows.sum(0), parameters)
    mine = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    for parameter in parameters:
        parameter.grad = None
    (losses[0] + losses[1]).backward()
    torch.testing.assert_close(mine, [parameter.grad for parameter in parameters])
    set_gradients(rows[0], parameters)  # adds to what is there
    assert not torch.allclose(mine[0], parameters[0].grad)  # type: ignore[arg-type]
