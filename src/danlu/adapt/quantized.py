"""Frozen bases kept as codes, which adapters are trained on (QLoRA, Dettmers et al. 2023)."""

from typing import Any, Literal, cast

from torch import Tensor, nn

from danlu.nn.coding import Coding
from danlu.nn.quantized import QuantizedConfig, QuantizedLinear

GROUP = 64  # weights that share a scale, as in the paper
Base = nn.Linear | QuantizedLinear  # a linear layer, coded or not


def coded(linear: nn.Linear, coding: Coding) -> QuantizedLinear:
    """The codes nearest to a layer's weights. Inputs stay as they are, and so does what is learnt of them."""
    dtype = cast(Literal["float32", "bfloat16", "float16"], str(linear.weight.dtype).removeprefix("torch."))
    return QuantizedLinear.of(linear, QuantizedConfig(coding=coding, group=GROUP, inputs="float", dtype=dtype))


def dense(base: Base) -> Tensor:
    """The weight matrix of a linear layer, coded or not: (O, I)."""
    return base.dense() if isinstance(base, QuantizedLinear) else base.weight.detach()


def place_of(base: Base) -> dict[str, Any]:
    """Device and dtype of a layer, for what is to work beside it."""
    if isinstance(base, QuantizedLinear):
        return {"device": base.codes.device, "dtype": base.config.torch_dtype}
    return {"device": base.weight.device, "dtype": base.weight.dtype}
