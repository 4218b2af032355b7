"""Numbers as codes: how a matrix is cut into groups, and which code is nearest to which number.

A group of inputs of one output shares a scale and a zero: weight = scale * (code - zero), or scale * level[code] where
levels are not evenly spaced. Shapes: O outputs, I inputs, G groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from danlu.kernels import Coded, pack, unpack

Coding = Literal["int8", "int4", "int3", "nf4"]
BITS: Mapping[Coding, int] = {"int8": 8, "int4": 4, "int3": 3, "nf4": 4}
# NormalFloat's levels hold equal shares of a normal distribution (Dettmers et al. 2023, appendix E).
NORMAL = (
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0, 0.0795803, 0.1609302, 0.2461123,
    0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
)  # fmt: skip
STEP = 8  # groups are a multiple of it


@dataclass(frozen=True)
class Grid:
    """The numbers that codes of each group can stand for: scales (O, G) float32 and zeros (O, G), codes least..most."""

    scales: Tensor
    zeros: Tensor
    group: int
    least: int
    most: int

    def spread(self, inputs: int) -> tuple[Tensor, Tensor]:
        """Scale and zero of each weight: (O, I) each."""
        scale, zero = (each.repeat_interleave(self.group, 1)[:, :inputs] for each in (self.scales, self.zeros))
        return scale, zero

    def codes(self, weight: Tensor) -> Tensor:
        """The nearest: (O, I) -> (O, I), whole numbers as float32."""
        scale, zero = self.spread(weight.shape[1])
        return (weight.float() / scale + zero).round_().clamp_(self.least, self.most)

    def values(self, codes: Tensor) -> Tensor:
        scale, zero = self.spread(codes.shape[1])
        return (codes - zero) * scale

    def rounded(self, weight: Tensor) -> Tensor:
        """The numbers that the nearest codes stand for: (O, I)."""
        return self.values(self.codes(weight))


def fitting(inputs: int, group: int | None) -> int:
    """The group to use for rows of so many inputs: a multiple of eight; None: the whole row."""
    whole = -(-inputs // STEP) * STEP
    return whole if group is None else min(group, whole)


def grid(weight: Tensor, bits: int, group: int | None, symmetric: bool = True, shrink: Tensor | float = 1.0) -> Grid:
    """Scales and zeros that reach a group's largest weights, or `shrink` (a number, or (O, G)) of the way to them.

    symmetric: codes stand for as far below zero as above, and 8-bit codes leave out 0, so that sums of two products fit
    in sixteen bits. Scales are numbers that half precision has, so that they are the same wherever they are exported.
    """
    size = fitting(weight.shape[1], group)
    groups = F.pad(weight.float(), (0, -weight.shape[1] % size)).view(len(weight), -1, size)
    least, most = (1, 255) if bits == 8 else (0, 2**bits - 1)
    if symmetric:
        middle = 2 ** (bits - 1)
        scales = groups.abs().amax(-1) * shrink / (middle - 1)
        zeros = torch.full_like(scales, middle)
    else:
        low, high = (groups.amin(-1).clamp(max=0) * shrink, groups.amax(-1).clamp(min=0) * shrink)
        scales = (high - low) / (most - least)
        zeros = torch.zeros_like(scales)
    scales = _half(scales)
    if not symmetric:
        zeros = (least - low / scales).round().clamp(least, most)
    return Grid(scales, zeros, size, least, most)


def _half(scales: Tensor) -> Tensor:
    """Rounded to half precision; 1 where a group is all zero, or too small for it."""
    rounded = scales.clamp(max=torch.finfo(torch.float16).max).half().float()
    return torch.where(rounded > 0, rounded, torch.ones_like(rounded))


def pack_codes(codes: Tensor, on: Grid, bits: int) -> Coded:
    """Codes (O, I) of a grid, laid as the kernels want them."""
    return pack(codes.to(torch.uint8), on.scales, on.zeros, on.group, bits)


def nearest(weight: Tensor, coding: Coding, group: int | None, symmetric: bool = True) -> Coded:
    """The codes nearest to weights (O, I): rounding, and nothing else."""
    if coding != "nf4":
        on = grid(weight, BITS[coding], group, symmetric)
        return pack_codes(on.codes(weight), on, BITS[coding])
    size = fitting(weight.shape[1], group)
    levels = levels_of(coding, weight.device)
    assert levels is not None
    groups = F.pad(weight.float(), (0, -weight.shape[1] % size)).view(len(weight), -1, size)
    scales = groups.abs().amax(-1)
    middles = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(groups / scales.clamp(min=torch.finfo(torch.float32).tiny)[..., None], middles)
    zeros = torch.full_like(scales, NORMAL.index(0.0))
    return pack(codes.flatten(1)[:, : weight.shape[1]].to(torch.uint8), scales, zeros, size, 4, levels)


def levels_of(coding: Coding, device: torch.device | str | None = None) -> Tensor | None:
    """The levels of codes that are not evenly spaced, in rising order."""
    return torch.tensor(NORMAL, device=device) if coding == "nf4" else None


def grid_of(coded: Coded, bits: int) -> tuple[Tensor, Grid]:
    """What was packed: codes (O, I), and their grid."""
    codes, scales, zeros = unpack(coded)
    least = 1 if bits == 8 else 0
    return codes, Grid(scales, zeros.float(), coded.group, least, 2**bits - 1)
