"""The product of inputs with coded weights as an operator of torch's, so that `torch.compile` can go through it.

Inputs become 8-bit codes too, with a scale for each row and each group of inputs (as large as its largest magnitude
needs it), or with one scale measured before (static). The compiled kernels multiply whole numbers; what torch does
elsewhere differs from that only by the rounding of float32 sums. Shapes: as in `layout`.
"""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from danlu.kernels.layout import Coded, unpack
from danlu.kernels.library import CLayer, native, status

ACTIVATIONS = ("none", "gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "tanh")  # in the order of danlu.h
LARGEST = 127

_LIBRARY: Any = torch.library.Library("danlu", "DEF")  # type: ignore[no-untyped-call]
_LIBRARY.define(
    "linear(Tensor x, Tensor codes, Tensor scales, Tensor zeros, Tensor? bias, int outputs, int inputs, int group,"
    " float input_scale) -> Tensor"
)
_LIBRARY.define(
    "dense(Tensor codes, Tensor scales, Tensor zeros, Tensor? levels, int outputs, int inputs, int group) -> Tensor"
)


def linear(x: Tensor, coded: Coded, bias: Tensor | None = None, input_scale: float = 0.0) -> Tensor:
    """x (..., I) -> (..., O), in the dtype of x. input_scale: of all inputs alike; 0: each row's and group's own."""
    out: Tensor = torch.ops.danlu.linear(
        x, coded.codes, coded.scales, coded.zeros, bias, coded.outputs, coded.inputs, coded.group, input_scale
    )
    return out


def dense(coded: Coded) -> Tensor:
    """The weights that codes stand for: (O, I) float32."""
    out: Tensor = torch.ops.danlu.dense(
        coded.codes, coded.scales, coded.zeros, coded.levels, coded.outputs, coded.inputs, coded.group
    )
    return out


def round_inputs(x: Tensor, group: int, input_scale: float = 0.0) -> Tensor:
    """Inputs as their 8-bit codes stand for them: (..., I) -> the same, float32."""
    missing = -x.shape[-1] % group
    padded = F.pad(x.float(), (0, missing))
    grouped = padded.view(*x.shape[:-1], -1, group)
    scale = grouped.abs().amax(-1, keepdim=True) / LARGEST
    if input_scale:
        scale = torch.full_like(scale, input_scale)
    inverse = torch.where(scale > 0, 1 / scale, 0)
    rounded = (grouped * inverse).clamp(-LARGEST, LARGEST).round() * scale
    whole: Tensor = rounded.flatten(-2)[..., : x.shape[-1]]
    return whole


def layer_of(coded: Coded, bias: Tensor | None = None, input_scale: float = 0.0, activation: str = "none") -> CLayer:
    """As C wants it. The tensors must outlive it; bias: float32."""
    return CLayer(
        coded.codes.data_ptr(), coded.scales.data_ptr(), coded.zeros.data_ptr(),
        None if bias is None else bias.data_ptr(), coded.outputs, coded.inputs, coded.group, coded.bits,
        ACTIVATIONS.index(activation), input_scale,
    )  # fmt: skip


@torch.library.impl(_LIBRARY, "linear", "CompositeExplicitAutograd")
def _linear(
    x: Tensor, codes: Tensor, scales: Tensor, zeros: Tensor, bias: Tensor | None, outputs: int, inputs: int, group: int,
    input_scale: float,
) -> Tensor:  # fmt: skip
    coded = Coded(codes, scales, zeros, outputs, inputs, group)
    kernels = native() if x.device.type == "cpu" else None
    if kernels is None:
        if x.device.type == "cpu":
            _announce()
        weight = _dense(codes, scales, zeros, None, outputs, inputs, group)
        return F.linear(round_inputs(x, group, input_scale), weight, None if bias is None else bias.float()).to(x.dtype)
    rows = x.reshape(-1, inputs).float().contiguous()
    y = rows.new_empty(len(rows), outputs)
    added = None if bias is None else bias.float().contiguous()
    kernels.linear(layer_of(coded, added, input_scale), rows, y)
    return y.view(*x.shape[:-1], outputs).to(x.dtype)


@torch.library.impl(_LIBRARY, "dense", "CompositeExplicitAutograd")
def _dense(
    codes: Tensor, scales: Tensor, zeros: Tensor, levels: Tensor | None, outputs: int, inputs: int, group: int
) -> Tensor:
    coded = Coded(codes, scales, zeros, outputs, inputs, group, levels)
    kernels = native() if codes.device.type == "cpu" else None
    if kernels is not None:
        weights = scales.new_empty(outputs, inputs)
        kernels.dense(layer_of(coded), levels, weights)
        return weights
    plain, scale, zero = unpack(coded)
    scale, zero = (each.repeat_interleave(group, 1)[:, :inputs] for each in (scale, zero))
    return (levels[plain.long()] if levels is not None else plain.float() - zero.float()) * scale


@torch.library.register_fake("danlu::linear", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _linear_shape(
    x: Tensor, codes: Tensor, scales: Tensor, zeros: Tensor, bias: Tensor | None, outputs: int, inputs: int, group: int,
    input_scale: float,
) -> Tensor:  # fmt: skip
    return x.new_empty(*x.shape[:-1], outputs)


@torch.library.register_fake("danlu::dense", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _dense_shape(
    codes: Tensor, scales: Tensor, zeros: Tensor, levels: Tensor | None, outputs: int, inputs: int, group: int
) -> Tensor:
    return scales.new_empty(outputs, inputs)


@cache
def _announce() -> None:
    """Once a process: products of codes are slower than they could be."""
    warnings.warn(f"{status()[1]}; products of codes go through torch, which is slower", RuntimeWarning, stacklevel=2)
