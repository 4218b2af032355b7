"""Learning with rounded weights (quantisation-aware training): what is learned is worth as much once it is codes.

Each product sees the numbers that codes would stand for; the gradient passes as if nothing had been rounded (Bengio et
al. 2013, straight through). Afterwards `unrounded` gives plain layers, whose nearest codes are those that were seen.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.compress.calibration import linear_layers
from danlu.compress.quantize import Quantize
from danlu.nn.coding import BITS, grid
from danlu.nn.parameters import replace_module


class RoundedLinear(nn.Module):
    """A linear layer that multiplies by the nearest codes of its weights: (..., I) -> (..., O)."""

    def __init__(self, linear: nn.Linear, change: Quantize):
        super().__init__()
        self.change = change
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        with torch.no_grad():
            on = grid(weight, BITS[self.change.coding], self.change.size, self.change.evenly)
            lost = on.rounded(weight).to(weight.dtype) - weight
        return F.linear(x, weight + lost, self.bias)


def rounded(model: nn.Module, change: Quantize) -> None:
    """Give every linear layer inside blocks rounded weights."""
    for path, layer in linear_layers(model).items():
        if ".blocks." in path:
            replace_module(model, path, RoundedLinear(layer, change))


def unrounded(model: nn.Module) -> None:
    """Plain layers again, with the weights as they were learned."""
    for path, layer in list(model.named_modules()):
        if isinstance(layer, RoundedLinear):
            with torch.device("meta"):
                made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
            made.weight, made.bias = layer.weight, layer.bias
            replace_module(model, path, made.train(layer.training))
