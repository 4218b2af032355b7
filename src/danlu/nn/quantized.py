"""Linear layers and embeddings whose weights are kept as small codes.

Where no gradient is wanted, products run on the codes themselves (`kernels`); otherwise the dense weights exist for one
product at a time, in the backward pass too: what QLoRA trains adapters on (Dettmers et al. 2023). Codes do not train;
biases can. Shapes: O outputs, I inputs, V rows of a table, D width; codes, scales and zeros as in `kernels.layout`.
"""

from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.kernels import Coded, dense, linear, stored_bits
from danlu.kernels.layout import BLOCK
from danlu.kernels.products import round_inputs
from danlu.nn.coding import BITS, Coding, fitting, levels_of, nearest
from danlu.nn.precision import compute
from danlu.settings import Settings


class QuantizedConfig(Settings):
    """How a matrix is kept.

    group: inputs that share a scale; none: all of a row. inputs: `float` as they are, `int8` as codes too. input_scale:
    of all inputs alike, measured before; 0: of each row and group its own. dtype: what the weights were, and stand for.
    """

    kind: Literal["quantized"] = "quantized"
    coding: Coding = "int8"
    group: int | None = Field(None, gt=0, multiple_of=8)
    inputs: Literal["float", "int8"] = "int8"
    input_scale: float = Field(0.0, ge=0)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @property
    def torch_dtype(self) -> torch.dtype:
        return cast(torch.dtype, getattr(torch, self.dtype))


class Codes(nn.Module):
    """A matrix (O, I) of codes."""

    codes: nn.Parameter
    scales: nn.Parameter
    zeros: nn.Parameter

    def __init__(self, outputs: int, inputs: int, config: QuantizedConfig):
        super().__init__()
        self.config, self.rows, self.columns = config, outputs, inputs
        self.group = fitting(inputs, config.group)
        blocks, groups = -(-outputs // BLOCK), -(-inputs // self.group)
        lines = groups * self.group // (4 if stored_bits(BITS[config.coding]) == 8 else 8)
        shapes = {"codes": (blocks, lines, 4, 16, 4), "scales": (blocks, groups, BLOCK)}
        for name, shape in (shapes | {"zeros": shapes["scales"]}).items():
            empty = torch.empty(shape, dtype=torch.float32 if name == "scales" else torch.uint8)
            setattr(self, name, nn.Parameter(empty, requires_grad=False))

    @property
    def coded(self) -> Coded:
        """For the kernels. Scales are float32 there, whatever the model was cast to."""
        levels = levels_of(self.config.coding, self.codes.device)
        scales = self.scales.detach().float()
        return Coded(self.codes.detach(), scales, self.zeros.detach(), self.rows, self.columns, self.group, levels)

    @coded.setter
    def coded(self, coded: Coded) -> None:
        for name in ("codes", "scales", "zeros"):
            setattr(self, name, nn.Parameter(getattr(coded, name), requires_grad=False))

    def dense(self, dtype: torch.dtype | None = None) -> Tensor:
        """The weights that the codes stand for: (O, I)."""
        return dense(self.coded).to(dtype or self.config.torch_dtype)

    @property
    def weight(self) -> Tensor:
        return self.dense()

    @property
    def nbytes(self) -> int:
        """What codes, scales and zeros take."""
        return self.codes.nbytes + self.scales.nbytes + self.zeros.nbytes

    def _apply(self, fn: Any, recurse: bool = True) -> "Codes":
        """Scales stay float32 where a model is cast."""
        scales = self.scales.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.scales.dtype != scales.dtype:
            self.scales.data = scales.to(self.scales.device)
        return self

    def extra_repr(self) -> str:
        return f"{self.columns}, {self.rows}, {self.config.coding}, group={self.group}, inputs={self.config.inputs}"


class QuantizedLinear(Codes):
    """In place of an nn.Linear: (..., I) -> (..., O)."""

    def __init__(self, inputs: int, outputs: int, bias: bool, config: QuantizedConfig):
        super().__init__(outputs, inputs, config)
        self.in_features, self.out_features = inputs, outputs
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    @staticmethod
    def of(linear: nn.Linear, config: QuantizedConfig, coded: Coded | None = None) -> "QuantizedLinear":
        """With these codes, or those nearest to the layer's weights, and its bias."""
        weight = linear.weight.detach()
        if coded is None:
            coded = nearest(weight, config.coding, config.group)
        with torch.device("meta"):
            made = QuantizedLinear(linear.in_features, linear.out_features, False, config)
        made.coded = coded
        made.bias = linear.bias
        return made.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        x = compute(x)
        rounds = self.config.inputs == "int8" and self.config.coding != "nf4"
        if rounds and not (torch.is_grad_enabled() and (x.requires_grad or _trains(self.bias))):
            return linear(x, self.coded, self.bias, self.config.input_scale)
        if rounds:  # the gradient passes as if nothing had been rounded
            x = x + (round_inputs(x, self.group, self.config.input_scale).to(x.dtype) - x).detach()
        out = cast(Tensor, _Product.apply(x, self))  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.to(out.dtype)


class QuantizedEmbedding(Codes):
    """In place of an nn.Embedding: numbers (...) -> rows of the table (..., D)."""

    def __init__(self, rows: int, width: int, config: QuantizedConfig):
        super().__init__(rows, width, config)
        self.num_embeddings, self.embedding_dim = rows, width

    @staticmethod
    def of(table: nn.Embedding, config: QuantizedConfig, coded: Coded | None = None) -> "QuantizedEmbedding":
        with torch.device("meta"):
            made = QuantizedEmbedding(table.num_embeddings, table.embedding_dim, config)
        made.coded = coded or nearest(table.weight.detach(), config.coding, config.group)
        return made.train(table.training)

    def forward(self, numbers: Tensor) -> Tensor:
        at = numbers[..., None]
        block, part, lane = at // BLOCK, at % BLOCK // 16, at % 16
        every = [torch.arange(each.shape[1], device=numbers.device) for each in (self.codes, self.scales)]
        lines = self.codes[block, every[0], part, lane]
        if stored_bits(BITS[self.config.coding]) == 4:
            lines = torch.stack([lines & 15, lines >> 4], -2)
        codes = lines.reshape(*numbers.shape, -1, self.group)
        scale, zero = (each[block, every[1], at % BLOCK] for each in (self.scales, self.zeros))
        levels = levels_of(self.config.coding, numbers.device)
        values = codes.float() - zero.float()[..., None] if levels is None else levels[codes.long()]
        rows = (values * scale.float()[..., None]).flatten(-2)[..., : self.embedding_dim]
        return rows.to(self.config.torch_dtype)


class _Product(torch.autograd.Function):
    """x W^T; W is made anew for the backward pass instead of being kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.dense(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.dense(grads[0].dtype), None


def _trains(parameter: Tensor | None) -> bool:
    return parameter is not None and parameter.requires_grad


def code_names(model: nn.Module) -> set[str]:
    """Names of parameters that are codes, or belong to them, and never train."""
    found = [path for path, module in model.named_modules() if isinstance(module, Codes)]
    return {f"{path}.{each}".lstrip(".") for path in found for each in ("codes", "scales", "zeros")}


def quantized(model: nn.Module) -> bool:
    return any(isinstance(module, Codes) for module in model.modules())
