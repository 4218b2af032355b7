"""How codes lie in memory, for every path the same: see `native/danlu.h`.

Shapes: O outputs, I inputs, P inputs filled up to whole groups, G groups, B blocks of 64 outputs.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

BLOCK = 64  # outputs that lie together
STEP = 8  # groups are multiples of it


@dataclass(frozen=True)
class Coded:
    """A weight matrix (O, I) as codes: a weight is scale * (code - zero), or scale * levels[code].

    codes (B, P / 4 or P / 8, 4, 16, 4) uint8, of a byte each or, up to four bits, two a byte; scales (B, G, 64)
    float32; zeros (B, G, 64) uint8. group: inputs that share a scale.
    """

    codes: Tensor
    scales: Tensor
    zeros: Tensor
    outputs: int
    inputs: int
    group: int
    levels: Tensor | None = None

    @property
    def bits(self) -> int:
        """What a code takes in memory."""
        return 8 if self.codes.shape[1] * 4 == self.padded else 4

    @property
    def groups(self) -> int:
        return self.scales.shape[1]

    @property
    def padded(self) -> int:
        return self.groups * self.group

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.scales.nbytes + self.zeros.nbytes

    def to(self, *place: Any, **more: Any) -> "Coded":
        def moved(each: Tensor) -> Tensor:
            return each.to(*place, **more)

        levels = None if self.levels is None else moved(self.levels)
        return replace(self, codes=moved(self.codes), scales=moved(self.scales), zeros=moved(self.zeros), levels=levels)


def stored_bits(bits: int) -> int:
    """Bits a code takes in memory: 4 or 8."""
    return 4 if bits <= 4 else 8


def pack(codes: Tensor, scales: Tensor, zeros: Tensor, group: int, bits: int, levels: Tensor | None = None) -> Coded:
    """codes (O, I) uint8 below 2^bits (and above 0 if those are 8), scales, zeros (O, G) -> as they lie in memory."""
    (outputs, inputs), groups = codes.shape, scales.shape[1]
    if group % STEP or groups * group < inputs or (groups - 1) * group >= inputs:
        raise ValueError(f"{groups} groups of {group} do not hold {inputs} inputs")
    padded, more = groups * group, -outputs % BLOCK
    last = zeros.to(torch.uint8).repeat_interleave(group, 1)[:, inputs:]  # weights of nothing are zero
    whole = torch.nn.functional.pad(torch.cat([codes.to(torch.uint8), last], 1), (0, 0, 0, more))
    if stored_bits(bits) == 8:
        tiled = whole.view(-1, 4, 16, padded // 4, 4)
    else:
        pairs = whole.view(-1, 4, 16, padded // 8, 2, 4)
        tiled = pairs[..., 0, :] | pairs[..., 1, :] << 4
    laid = tiled.permute(0, 3, 1, 2, 4).contiguous()
    scales, zeros = _by_block(scales.float(), more), _by_block(zeros.to(torch.uint8), more)
    return Coded(laid, scales, zeros, outputs, inputs, group, levels)


def unpack(coded: Coded) -> tuple[Tensor, Tensor, Tensor]:
    """codes (O, I), scales and zeros (O, G)."""
    tiled = coded.codes.permute(0, 2, 3, 1, 4)
    if coded.bits == 4:
        tiled = torch.stack([tiled & 15, tiled >> 4], -2)
    codes = tiled.reshape(-1, coded.padded)[: coded.outputs, : coded.inputs]
    by_group = (each.transpose(1, 2).reshape(-1, coded.groups) for each in (coded.scales, coded.zeros))
    scales, zeros = (each[: coded.outputs] for each in by_group)
    return codes, scales, zeros


def _by_block(each: Tensor, more: int) -> Tensor:
    """(O, G) -> (B, G, 64)."""
    return torch.nn.functional.pad(each, (0, 0, 0, more)).view(-1, BLOCK, each.shape[1]).transpose(1, 2).contiguous()
