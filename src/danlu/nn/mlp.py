"""The feed-forward half of a block, its activations, and the norms."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.nn.dropout import Dropout
from danlu.nn.norms import RmsNorm
from danlu.nn.precision import compute
from danlu.settings import Settings

ActivationName = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "tanh"]


def quick_gelu(x: Tensor) -> Tensor:
    """x sigmoid(1.702 x): the approximation CLIP was trained with."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[ActivationName, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class MlpConfig(Settings):
    inner: int = Field(gt=0, le=2**24)
    activation: ActivationName = "gelu"
    gated: bool = False  # multiply by a second projection: SwiGLU with silu, GEGLU with gelu (Shazeer 2020)
    bias: bool = True
    dropout: float = Field(0.0, ge=0, lt=1)  # on the inner activations (T5, BART)


class NormConfig(Settings):
    """Layer norm (Ba et al. 2016) or root-mean-square norm (Zhang and Sennrich 2019)."""

    kind: Literal["layer", "rms"] = "layer"
    eps: float = Field(1e-5, gt=0)
    bias: bool = True  # layer norms only

    def build(self, width: int) -> nn.Module:
        if self.kind == "rms":
            return RmsNorm(width, self.eps)
        return nn.LayerNorm(width, self.eps, bias=self.bias)


class Activation(nn.Module):
    """An activation of the table, as a layer."""

    def __init__(self, name: ActivationName):
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.name](x)

    def extra_repr(self) -> str:
        return self.name


class Mlp(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def __init__(self, width: int, config: MlpConfig):
        super().__init__()
        self.activation = Activation(config.activation)
        self.up = nn.Linear(width, config.inner, config.bias)
        self.gate = nn.Linear(width, config.inner, config.bias) if config.gated else None
        self.down = nn.Linear(config.inner, width, config.bias)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is None:
            inner = self.activation(self.up(x))
        else:
            x = compute(x)
            inner = self.activation(self.gate(x)) * self.up(x)
        out: Tensor = self.down(self.dropout(inner))
        return out
