"""What a config cannot say of a compressed model: modules whose shape is their own, by path.

A config describes blocks that are all alike. Where one layer has fewer heads, a narrower feed-forward, factors in the
place of a matrix, or codes in the place of numbers, `shapes_of` says so, and `reshape` makes it so again before weights
are loaded.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import nn

from danlu.errors import DanluError
from danlu.models.build import Model, build
from danlu.nn.attention import Attention
from danlu.nn.factorized import FactorizedConfig, FactorizedLinear
from danlu.nn.mlp import Mlp
from danlu.nn.parameters import replace_module, tied_names
from danlu.nn.quantized import Codes, QuantizedConfig, QuantizedEmbedding, QuantizedLinear
from danlu.settings import Settings


class AttentionShape(Settings):
    kind: Literal["attention"] = "attention"
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_size: int = Field(gt=0)


class MlpShape(Settings):
    kind: Literal["mlp"] = "mlp"
    inner: int = Field(gt=0)


Shape = Annotated[AttentionShape | MlpShape | FactorizedConfig | QuantizedConfig, Field(discriminator="kind")]
_SHAPES: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Shape])
ORDER = ("attention", "mlp", "factorized", "quantized")  # what has to stand before what


def shape_of(module: nn.Module) -> Settings | None:
    """Of the kinds of modules that may have one."""
    if isinstance(module, Attention):
        return AttentionShape(heads=module.heads, kv_heads=module.kv_heads, head_size=module.head_size)
    if isinstance(module, Mlp):
        return MlpShape(inner=module.up.out_features)
    if isinstance(module, (FactorizedLinear, Codes)):
        return module.config
    return None


def shapes_of(model: Model) -> dict[str, Settings]:
    """The modules that are not as the model's config builds them."""
    plain = {path: shape_of(module) for path, module in build(model.config, "meta").named_modules()}
    own = {path: shape_of(module) for path, module in model.named_modules()}
    return {path: shape for path, shape in own.items() if shape is not None and shape != plain.get(path)}


def ties_of(model: nn.Module) -> dict[str, str]:
    """Names of parameters that are another's: name -> the first name it goes by."""
    return {name: first for name, first in tied_names(model).items() if name != first}


def read_shapes(data: Any, where: object = None) -> dict[str, Settings]:
    """E2404 where plain data describes no shapes."""
    try:
        return _SHAPES.validate_python(data)
    except ValidationError as error:
        raise DanluError("E2404", where=where, found=error.errors(include_url=False)[0]["msg"]) from error


def reshape(model: nn.Module, shapes: Mapping[str, Settings], ties: Mapping[str, str], where: object = None) -> None:
    """Give modules of a model on the meta device these shapes, and tie what was tied. E2404 where they do not fit."""
    try:
        with torch.device("meta"):
            for path, shape in sorted(shapes.items(), key=lambda each: ORDER.index(each[1].kind)):  # type: ignore[attr-defined]
                _give(model, path, shape)
        for name, first in ties.items():
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, model.get_parameter(first))
    except (AttributeError, TypeError) as error:
        raise DanluError("E2404", where=where, found=error) from error


def _give(model: nn.Module, path: str, shape: Settings) -> None:
    module = model.get_submodule(path)
    if isinstance(shape, AttentionShape) and isinstance(module, Attention):
        module.heads, module.kv_heads, module.head_size = shape.heads, shape.kv_heads, shape.head_size
        for name, heads in (("query", shape.heads), ("key", shape.kv_heads), ("value", shape.kv_heads)):
            setattr(module, name, _linear(module.get_submodule(name), outputs=heads * shape.head_size))
        module.output = _linear(module.output, inputs=shape.heads * shape.head_size)
    elif isinstance(shape, MlpShape) and isinstance(module, Mlp):
        module.up = _linear(module.up, outputs=shape.inner)
        module.gate = None if module.gate is None else _linear(module.gate, outputs=shape.inner)
        module.down = _linear(module.down, inputs=shape.inner)
    elif isinstance(shape, FactorizedConfig) and isinstance(module, nn.Linear):
        bias = module.bias is not None
        replace_module(model, path, FactorizedLinear(module.in_features, module.out_features, bias, shape))
    elif isinstance(shape, QuantizedConfig) and isinstance(module, nn.Linear):
        bias = module.bias is not None
        replace_module(model, path, QuantizedLinear(module.in_features, module.out_features, bias, shape))
    elif isinstance(shape, QuantizedConfig) and isinstance(module, nn.Embedding):
        replace_module(model, path, QuantizedEmbedding(module.num_embeddings, module.embedding_dim, shape))
    else:
        raise TypeError(f"{path}: {type(module).__name__}, {shape}")


def _linear(like: nn.Module, inputs: int | None = None, outputs: int | None = None) -> nn.Linear:
    assert isinstance(like, nn.Linear)
    return nn.Linear(inputs or like.in_features, outputs or like.out_features, like.bias is not None)
