"""How several losses share one model: what to multiply each by, and what to do where their gradients disagree.

Pure functions: what a rule remembers is handed in and handed back, so that it can stand in a checkpoint. Losses go by
name and are means over their targets. Shapes: K losses, N numbers of a gradient.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Numbers = Mapping[str, float]


class Uncertainty(nn.Module):
    """sum of exp(-s) · loss + s / 2, with a learned s = log σ² for each loss (Kendall et al. 2018, eq. 10, for losses
    that are negative log-likelihoods; half of each squared error is one). It belongs to what an optimiser trains."""

    def __init__(self, names: Sequence[str]):
        super().__init__()
        self.logs = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names})

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Losses that are not there take no part."""
        terms = [torch.exp(-self.logs[name]) * loss + self.logs[name] / 2 for name, loss in losses.items()]
        return torch.stack(terms).sum()

    def weights(self) -> dict[str, float]:
        """What each loss is multiplied by now."""
        return {name: math.exp(-float(log.detach())) for name, log in self.logs.items()}


@dataclass(frozen=True)
class Pace:
    """The losses of the two stretches (epochs, evaluations) before; none at first."""

    before: Numbers | None = None
    last: Numbers | None = None

    def then(self, losses: Numbers) -> "Pace":
        """One stretch later."""
        return Pace(self.last, dict(losses))

    def weights(self, names: Sequence[str], temperature: float) -> dict[str, float]:
        """K · softmax(ratio / temperature), where a ratio is how much of a loss was left after the last stretch (Liu et
        al. 2019, eq. 7): losses that fall slowly weigh more. They sum to K; even until two stretches have been seen."""
        ratios = dict.fromkeys(names, 1.0)
        if self.before is not None and self.last is not None:
            ratios |= {name: self.last[name] / self.before[name] for name in names if self.before.get(name, 0.0) > 0}
        highest = max(ratios.values())
        shares = {name: math.exp((ratio - highest) / temperature) for name, ratio in ratios.items()}
        return {name: len(names) * share / sum(shares.values()) for name, share in shares.items()}


def wanted_norms(norms: Numbers, losses: Numbers, first: Numbers, alpha: float) -> dict[str, float]:
    """The length each weighted gradient should have: the mean, times how far its loss lags behind to the power alpha
    (GradNorm, Chen et al. 2018, section 3.1). first: the losses of the first step."""
    mean = sum(norms.values()) / len(norms)
    left = {name: losses[name] / max(first[name], 1e-12) for name in norms}
    usual = sum(left.values()) / len(left)
    return {name: mean * (left[name] / max(usual, 1e-12)) ** alpha for name in norms}


def moved_weights(weights: Numbers, norms: Numbers, wanted: Numbers, rate: float) -> dict[str, float]:
    """One step of the weights towards gradients of the wanted lengths; they stay positive and sum to what they did.

    norms: of the gradients with their weights. The step is one of the logarithm, so that losses of any size move alike.
    """
    moved = {
        name: weight * math.exp(rate * math.copysign(1.0, wanted[name] - norms[name]) * (wanted[name] != norms[name]))
        for name, weight in weights.items()
    }
    scale = sum(weights.values()) / sum(moved.values())
    return {name: weight * scale for name, weight in moved.items()}


def without_conflict(gradients: Tensor, order: Sequence[Sequence[int]]) -> Tensor:
    """The sum of gradients (K, N), each without what points against others (PCGrad, Yu et al. 2020, algorithm 1): (N,).

    order: for each gradient, the others in the order they are looked at; chance, handed in.
    """
    lengths = gradients.square().sum(1)
    total = torch.zeros_like(gradients[0])
    for index, others in enumerate(order):
        mine = gradients[index].clone()
        for other in others:
            along = torch.dot(mine, gradients[other])
            if other != index and along < 0 and lengths[other] > 0:
                mine -= along / lengths[other] * gradients[other]
        total += mine
    return total


def orders(count: int, generator: torch.Generator) -> list[list[int]]:
    """For each of several gradients, the others in an order by chance."""
    drawn = [torch.randperm(count, generator=generator).tolist() for _ in range(count)]
    return [[other for other in each if other != index] for index, each in enumerate(drawn)]


def flat_gradient(loss: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The gradient of one loss as one row (N,), zero where a parameter has no part in it; the graph is kept."""
    found: Any = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    rows = [torch.zeros_like(p) if each is None else each for p, each in zip(parameters, found, strict=True)]
    return torch.cat([row.flatten() for row in rows])


def set_gradients(flat: Tensor, parameters: Sequence[Tensor]) -> None:
    """Add a row (N,) to the gradients of parameters."""
    start = 0
    for parameter in parameters:
        piece = flat[start : start + parameter.numel()].view_as(parameter)
        parameter.grad = piece.clone() if parameter.grad is None else parameter.grad + piece
        start += parameter.numel()
