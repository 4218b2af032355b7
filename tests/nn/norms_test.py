"""The norm and its gradients against torch's own formula."""

import pytest
import torch
from torch.nn import functional as F

from danlu.nn.norms import RmsNorm


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("shape", [(7, 16), (2, 3, 5, 8), (5000, 8)])
def test_equals_torchs(dtype: torch.dtype, tolerance: float, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = RmsNorm(shape[-1], 1e-3)
    with torch.no_grad():
        norm.weight.normal_()
    x = torch.randn(shape).to(dtype).requires_grad_()
    gradient = torch.randn(shape).to(dtype)
    wide = x.detach().float().requires_grad_()
    exact = F.rms_norm(wide, (shape[-1],), norm.weight, 1e-3)
    exact_gradients = torch.autograd.grad(exact, [wide, norm.weight], gradient.float())
    ours = norm(x)
    assert ours.dtype == dtype
    assert relative(ours, exact.detach()) < tolerance
    for mine, theirs in zip(torch.autograd.grad(ours, [x, norm.weight], gradient), exact_gradients, strict=True):
        assert relative(mine, theirs) < tolerance


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours.detach().float() - theirs).norm() / theirs.norm())


def test_zero_row_stays_zero() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    RmsNorm(4, 1e-6)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
