"""The chunked loss against the whole-matrix one."""

import pytest
import torch
from torch.nn import functional as F

from danlu.nn import loss as module
from danlu.nn.loss import head_loss


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("smoothing", "z_weight"), [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-2), (0.1, 1e-2)])
def test_equals_whole_matrix(monkeypatch: pytest.MonkeyPatch, bias: bool, smoothing: float, z_weight: float) -> None:
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 50 * 7)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 50 * 3)
    torch.manual_seed(0)
    features, weight = torch.randn(23, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    offset = torch.randn(50, requires_grad=True) if bias else None
    inputs = [features, weight] + ([offset] if offset is not None else [])
    targets = torch.randint(50, (23,))
    ours = head_loss(features, weight, offset, targets, smoothing, z_weight)
    logits = F.linear(features, weight, offset)
    theirs = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    theirs = theirs + z_weight * logits.logsumexp(1).square().sum()
    torch.testing.assert_close(ours, theirs)
    for mine, their in zip(torch.autograd.grad(ours * 3, inputs), torch.autograd.grad(theirs * 3, inputs), strict=True):
        torch.testing.assert_close(mine, their)
    with torch.no_grad():
        torch.testing.assert_close(head_loss(features, weight, offset, targets, smoothing, z_weight), theirs.detach())


def test_no_tokens_gives_zero_gradients() -> None:
    features, weight = torch.randn(0, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    loss = head_loss(features, weight, None, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert weight.grad is not None
    assert not weight.grad.any()


def test_hopeless_token_has_a_finite_loss() -> None:
    features = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[500.0], [-500.0]])
    loss = head_loss(features, weight, None, torch.tensor([1]))
    loss.backward()
    torch.testing.assert_close(loss, torch.tensor(1000.0))
    torch.testing.assert_close(features.grad, torch.tensor([[1000.0]]))


def test_bfloat16_under_autocast_is_near_and_never_holds_all_logits() -> None:
    torch.manual_seed(0)
    features, weight = torch.randn(64, 32, requires_grad=True), (torch.randn(500, 32) / 6).requires_grad_()
    targets = torch.randint(500, (64,))
    exact = head_loss(features, weight, None, targets)
    exact_grad = torch.autograd.grad(exact, weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rough = head_loss(features, weight, None, targets)
    rough_grad = torch.autograd.grad(rough, weight)[0]
    assert rough.dtype == torch.float32
    assert rough_grad.dtype == torch.float32
    assert abs(rough.item() / exact.item() - 1) < 1e-2
    assert (rough_grad - exact_grad).norm() / exact_grad.norm() < 2e-2
