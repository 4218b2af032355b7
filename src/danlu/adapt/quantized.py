"""A linear layer whose frozen weights are kept as small codes: what QLoRA trains adapters on (Dettmers et al. 2023).

A row of inputs is cut into groups; a group's weights are one scale (its largest magnitude) times levels between -1 and
1. Only weights are coded, products run in the dtype of their inputs, and the dense weights exist for one product at a
time, in the backward pass too. Shapes: O outputs, I inputs, G groups a row.
"""

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from danlu.nn.precision import compute

Coding = Literal["int8", "int4", "nf4"]

GROUP = 64  # weights that share a scale
NORMAL = (
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0, 0.0795803, 0.1609302, 0.2461123,
    0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
)  # fmt: skip
# The levels of a code, in rising order; NormalFloat's hold equal shares of a normal distribution (appendix E).
LEVELS: dict[Coding, tuple[float, ...]] = {
    "int8": tuple(level / 127 for level in range(-127, 128)),
    "int4": tuple(level / 7 for level in range(-7, 8)),
    "nf4": NORMAL,
}


class QuantizedLinear(nn.Module):
    """In place of an nn.Linear: (..., I) -> (..., O). Its weights do not train; its bias can.

    codes (O, I) of a byte each, or (O, I / 2) with two a byte, and scales (O, G) are no part of a saved state: they
    follow from the weights they were made of.
    """

    codes: Tensor
    scales: Tensor
    levels: Tensor

    def __init__(self, linear: nn.Linear, coding: Coding):
        super().__init__()
        self.coding: Coding = coding
        self.out_features, self.in_features = linear.out_features, linear.in_features
        self.bias: nn.Parameter | None = linear.bias
        weight = linear.weight.detach()
        levels = torch.tensor(LEVELS[coding], dtype=torch.float32, device=weight.device)
        codes, scales = _coded(weight, levels)
        self.register_buffer("codes", codes if coding == "int8" else _packed(codes), persistent=False)
        self.register_buffer("scales", scales.to(weight.dtype), persistent=False)
        self.register_buffer("levels", levels, persistent=False)

    def dense(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weights that the codes stand for: (O, I)."""
        codes = self.codes if self.coding == "int8" else _unpacked(self.codes)
        dtype = dtype or self.scales.dtype
        grouped = self.levels.to(dtype)[codes.long()].view(self.out_features, -1, GROUP)
        return (grouped * self.scales.to(dtype)[..., None]).flatten(1)[:, : self.in_features]

    def forward(self, x: Tensor) -> Tensor:
        out = cast(Tensor, _Product.apply(compute(x), self))  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.to(out.dtype)

    @property
    def nbytes(self) -> int:
        """What weights and scales take."""
        return self.codes.nbytes + self.scales.nbytes

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.coding}"


class _Product(torch.autograd.Function):
    """x W^T; W is made anew for the backward pass instead of being kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return x @ layer.dense(x.dtype).T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.dense(grads[0].dtype), None


Base = nn.Linear | QuantizedLinear  # a linear layer, coded or not


def dense(base: Base) -> Tensor:
    """The weight matrix of a linear layer, coded or not: (O, I)."""
    return base.dense() if isinstance(base, QuantizedLinear) else base.weight.detach()


def place_of(base: Base) -> dict[str, Any]:
    """Device and dtype of a layer, for what is to work beside it."""
    like = base.scales if isinstance(base, QuantizedLinear) else base.weight
    return {"device": like.device, "dtype": like.dtype}


def _coded(weight: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """(O, I) -> the number of the nearest level, a byte each (O, I rounded up), and scales (O, G)."""
    missing = -weight.shape[1] % GROUP
    groups = nn.functional.pad(weight.float(), (0, missing)).view(len(weight), -1, GROUP)
    scales = groups.abs().amax(-1)
    middles = (levels[1:] + levels[:-1]) / 2
    codes = torch.bucketize(groups / scales.clamp(min=torch.finfo(torch.float32).tiny)[..., None], middles)
    return codes.to(torch.uint8).flatten(1), scales


def _packed(codes: Tensor) -> Tensor:
    return codes[:, ::2] | codes[:, 1::2] << 4


def _unpacked(codes: Tensor) -> Tensor:
    return torch.stack([codes & 15, codes >> 4], dim=-1).flatten(1)
