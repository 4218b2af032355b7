"""What adapters add to a layer: modules that hold little, beside a layer that stays as it is.

Shapes: I inputs, O outputs, R rank.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.adapt.quantized import Base, dense, place_of
from danlu.nn.adapters import Adapters
from danlu.nn.dropout import Dropout
from danlu.nn.mlp import Activation, ActivationName


class AdaptedLinear(Adapters):
    """A linear layer and what adapters make of it: (..., I) -> (..., O)."""

    def __init__(self, base: Base):
        super().__init__()
        self.base = base
        self.in_features, self.out_features = base.in_features, base.out_features

    def forward(self, x: Tensor) -> Tensor:
        adapter = self.at_work
        out: Tensor = self.base(x) if adapter is None else adapter(x, self.base)
        return out


class LowRank(nn.Module):
    """y = W x + b + scale · B A x (LoRA, Hu et al. 2021, eq. 3); A is `down` (R, I), B is `up` (O, R), zero at first.

    decomposed: the rows of W + scale · B A are brought to learned lengths, `size` (O,) (DoRA, Liu et al. 2024, eq. 5);
    their own lengths are treated as constants (section 4.3).
    """

    def __init__(self, base: Base, rank: int, scale: float, dropout: float = 0.0, decomposed: bool = False):
        super().__init__()
        like = place_of(base)
        outputs, inputs = shape_of(base)
        self.scale, self.dropout = scale, Dropout(dropout)
        self.down = nn.Parameter(torch.empty(rank, inputs, **like))
        self.up = nn.Parameter(torch.zeros(outputs, rank, **like))
        self.size = nn.Parameter(dense(base).float().norm(dim=1).to(**like)) if decomposed else None

    def draw(self, generator: torch.Generator) -> None:
        """As PEFT does: uniform within 1 / sqrt(I)."""
        _uniform(self.down, generator)

    def forward(self, x: Tensor, base: Base) -> Tensor:
        low = F.linear(self.dropout(x), self.down)
        y: Tensor = base(x)
        if self.size is None:
            return _plus_product(y, low, self.up, self.scale)
        bias: Tensor | None = base.bias
        y = y if bias is None else y - bias
        y = _plus_product(y, low, self.up, self.scale) * (self.size / self._lengths(base)).to(y.dtype)
        out: Tensor = y if bias is None else (y + bias).to(y.dtype)
        return out

    @torch.no_grad()
    def _lengths(self, base: Base) -> Tensor:
        with torch.autocast(self.up.device.type, enabled=False):
            whole = torch.addmm(dense(base), self.up, self.down, alpha=self.scale)
            lengths: Tensor = torch.linalg.vector_norm(whole, dim=1)
        return lengths

    @torch.no_grad()
    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the one linear layer that computes the same."""
        weight = torch.addmm(dense(base), self.up, self.down, alpha=self.scale)
        if self.size is not None:
            weight = weight * (self.size / weight.norm(dim=1))[:, None]
        return weight, base.bias

    def extra_repr(self) -> str:
        return f"rank={self.down.shape[0]}, scale={self.scale:g}, decomposed={self.size is not None}"


class Scaling(nn.Module):
    """Inputs or outputs times a learned vector, one at first (IA³, Liu et al. 2022, section 3.3)."""

    def __init__(self, base: Base, at: Literal["input", "output"]):
        super().__init__()
        self.at = at
        self.factor = nn.Parameter(torch.ones(shape_of(base)[at == "input"], **place_of(base)))

    def forward(self, x: Tensor, base: Base) -> Tensor:
        if self.at == "input":
            scaled: Tensor = base(x * self.factor.to(x.dtype))
            return scaled
        y: Tensor = base(x)
        return y * self.factor.to(y.dtype)

    @torch.no_grad()
    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the one linear layer that computes the same."""
        if self.at == "input":
            return dense(base) * self.factor, base.bias
        return dense(base) * self.factor[:, None], None if base.bias is None else base.bias * self.factor

    def extra_repr(self) -> str:
        return self.at


class Bottleneck(nn.Module):
    """After a layer, down to few units, an activation, and up again, added to what came in (Houlsby et al. 2019)."""

    def __init__(self, base: Base, inner: int, activation: ActivationName):
        super().__init__()
        like, width = place_of(base), shape_of(base)[0]
        self.activation = Activation(activation)
        self.down = nn.Linear(width, inner, **like)
        self.up = nn.Linear(inner, width, **like)
        if not self.up.weight.is_meta:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)
            nn.init.zeros_(self.down.bias)

    def draw(self, generator: torch.Generator) -> None:
        """Uniform within 1 / sqrt(width); the way up is zero, so that nothing changes at first."""
        _uniform(self.down.weight, generator)

    def forward(self, x: Tensor, base: Base) -> Tensor:
        y: Tensor = base(x)
        out: Tensor = y + self.up(self.activation(self.down(y)))
        return out


def shape_of(base: Base) -> tuple[int, int]:
    """(O, I)."""
    return base.out_features, base.in_features


def _plus_product(y: Tensor, low: Tensor, up: Tensor, scale: float) -> Tensor:
    """y + scale · up low, without a pass of its own for the sum: (..., O), (..., R), (O, R) -> (..., O)."""
    return torch.addmm(y.flatten(0, -2), low.flatten(0, -2), up.T, alpha=scale).view(y.shape)


def _uniform(parameter: Tensor, generator: torch.Generator) -> None:
    bound = parameter.shape[1] ** -0.5
    with torch.no_grad():
        parameter.copy_((2 * torch.rand(parameter.shape, generator=generator) - 1) * bound)
