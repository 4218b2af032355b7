"""Pruning by movement: weights that learning pulls towards zero go (Sanh et al. 2020).

While a model learns, each weight has a score, and those with the highest scores count, as if the others were zero. A
score falls where the loss wants its weight smaller. Afterwards `settled` makes the zeros real.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.compress.calibration import linear_layers
from danlu.nn.parameters import replace_module

RATE = 100.0  # by how much faster scores learn than weights (Sanh et al. 2020, appendix A.1: 1e-2 and 3e-5)
START = 1e-3  # the largest score at first, of the largest weight: until something has moved, magnitude decides


class ScoredLinear(nn.Module):
    """A linear layer of which the share of weights with the lowest scores is taken for zero: (..., I) -> (..., O)."""

    def __init__(self, linear: nn.Linear, share: float):
        super().__init__()
        self.share = share
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        size = linear.weight.detach().abs()
        self.scores = nn.Parameter(START * size / size.max().clamp(min=1e-12))

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = _Masked.apply(self.weight, self.scores, self.share)  # type: ignore[no-untyped-call]
        return F.linear(x, weight, self.bias)


class _Masked(torch.autograd.Function):
    """The gradient of a score is that of its weight, times the weight (eq. 3)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, share: float) -> Tensor:
        mask = highest(scores, share)
        ctx.save_for_backward(weight, mask)
        return weight * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, mask = ctx.saved_tensors
        return gradients[0] * mask, gradients[0] * weight, None


def highest(scores: Tensor, share: float) -> Tensor:
    """All but the given share of the lowest: true where they stay."""
    gone = int(scores.numel() * share)
    if not gone:
        return torch.ones_like(scores, dtype=torch.bool)
    order = scores.detach().flatten().argsort(dim=0, stable=True)
    mask = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:gone]] = False
    return mask.view_as(scores)


def score(model: nn.Module, share: float) -> dict[str, float]:
    """Give every linear layer inside blocks scores; by parameter, how much faster it learns."""
    for path, layer in linear_layers(model).items():
        if ".blocks." in path:
            replace_module(model, path, ScoredLinear(layer, share))
    return {name: RATE for name, _ in model.named_parameters() if name.endswith(".scores")}


@torch.no_grad()
def settled(model: nn.Module) -> None:
    """Plain layers again, with zeros where scores were lowest."""
    for path, layer in list(model.named_modules()):
        if isinstance(layer, ScoredLinear):
            with torch.device("meta"):
                made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            made.weight = nn.Parameter(layer.weight.detach() * highest(layer.scores, layer.share))
            made.bias = layer.bias
            replace_module(model, path, made.train(layer.training))
