"""Codes without calibration: scales fitted so that most weights are met, and a few large ones are missed."""

import torch
from torch import Tensor
from torch.nn import functional as F

from danlu.nn.coding import Grid, grid

STEPS, POWER, START, GROWTH = 20, 0.7, 10.0, 1.01  # of Badri and Shaji (2023)


@torch.no_grad()
def half_quadratic(weight: Tensor, bits: int, group: int | None, symmetric: bool) -> Grid:
    """Alternate between the error that is allowed and the grid that leaves it (Badri and Shaji 2023, eqs. 4 to 6).

    Published zeros are fractions; ours are whole numbers, so scales are fitted with them. A group keeps its best grid.
    """
    begun = grid(weight, bits, group, symmetric)
    size, missing = begun.group, -weight.shape[1] % begun.group
    groups = F.pad(weight.float(), (0, missing)).view(len(weight), -1, size)
    scales, zeros, strength = begun.scales, begun.zeros, START
    best, kept = torch.full_like(scales, torch.inf), (scales, zeros)
    for _ in range(STEPS):
        scales = scales.half().float().clamp(min=2.0**-24)
        codes = (groups / scales[..., None] + zeros[..., None]).round().clamp(begun.least, begun.most)
        values = (codes - zeros[..., None]) * scales[..., None]
        losses = (groups - values).abs().pow(POWER).sum(-1)
        better = losses < best
        best = torch.where(better, losses, best)
        kept = (torch.where(better, scales, kept[0]), torch.where(better, zeros, kept[1]))
        wanted = groups - _allowed(groups - values, strength)
        if not symmetric:
            zeros = (codes - wanted / scales[..., None]).mean(-1).round().clamp(begun.least, begun.most)
        centred = codes - zeros[..., None]
        fitted = (wanted * centred).sum(-1) / centred.square().sum(-1).clamp(min=1)
        scales = torch.where(fitted > 0, fitted, scales)
        strength *= GROWTH
    return Grid(kept[0], kept[1], size, begun.least, begun.most)


def _allowed(error: Tensor, strength: float) -> Tensor:
    """The generalised soft threshold of the norm with power below one (eq. 5)."""
    size = error.abs()
    return error.sign() * F.relu(size - size.clamp(min=1e-8).pow(POWER - 1) / strength)
