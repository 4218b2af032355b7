"""After cutting: a config that says what the modules are, wherever a config can."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from torch import nn

from danlu.models.build import Model
from danlu.nn.attention import Attention
from danlu.nn.embedding import TokenEmbedding, TokenEmbeddingConfig
from danlu.nn.mlp import Mlp
from danlu.nn.transformer import Transformer, TransformerConfig
from danlu.settings import Settings

S = TypeVar("S", bound=Settings)


def settle(model: Model) -> Model:
    """Write depth, width, heads, inner width and vocabulary of the modules into the model's config, each where all
    layers agree; where they do not the config stays, and `shapes` tells the rest."""
    found = iter([module for module in model.modules() if isinstance(module, Transformer)])
    tables = iter([module for module in model.modules() if isinstance(module, TokenEmbedding)])
    changes: dict[type[Settings], Callable[[Any], Settings]] = {
        TransformerConfig: lambda config: _stack(config, next(found, None)),
        TokenEmbeddingConfig: lambda config: _embedding(config, next(tables, None)),
    }
    model.config = _each(model.config, changes)
    for module, config in zip(_with_stack(model), _stacks(model.config), strict=False):
        module.config = config
    return model


def _stack(config: TransformerConfig, stack: Transformer | None) -> TransformerConfig:
    if stack is None:  # a decoder that was left out
        return config
    width = _width(stack) or config.width
    heads = _agreed([(each.heads, each.kv_heads, each.head_size) for each in _inside(stack, Attention)])
    inner = _agreed([each.up.out_features for each in _inside(stack, Mlp)])
    attention, mlp = config.attention.model_copy(update={"windows": stack.config.attention.windows}), config.mlp
    if heads:
        count, kv_heads, size = heads
        told = attention.kv_heads is not None or kv_heads != count
        attention = attention.model_copy(update={
            "heads": count,
            "kv_heads": kv_heads if told else None,
            "head_size": size if attention.head_size is not None or count * size != width else None,
        })  # fmt: skip
    else:
        size = _inside(stack, Attention)[0].head_size
        attention = attention.model_copy(update={
            "head_size": size if attention.head_size is not None or attention.heads * size != width else None
        })  # fmt: skip
    if inner:
        mlp = mlp.model_copy(update={"inner": inner})
    return config.model_copy(update={"width": width, "depth": len(stack.blocks), "attention": attention, "mlp": mlp})


def _embedding(config: TokenEmbeddingConfig, embedding: TokenEmbedding | None) -> TokenEmbeddingConfig:
    if embedding is None:
        return config
    vocabulary, inner = embedding.tokens.num_embeddings, embedding.tokens.embedding_dim
    narrow = inner if embedding.projection is not None else None
    return config.model_copy(update={"vocabulary": vocabulary, "width": narrow})


def _each(config: S, changes: dict[type[Settings], Callable[[Any], Settings]]) -> S:
    """A config with every group of these kinds changed, in the order modules are built in."""
    made: dict[str, Any] = {}
    for name, value in config:
        if type(value) in changes:
            made[name] = changes[type(value)](value)
        elif isinstance(value, Settings):
            made[name] = _each(value, changes)
    return config.model_copy(update=made)


def _stacks(config: Settings) -> Iterator[TransformerConfig]:
    for _, value in config:
        if isinstance(value, TransformerConfig):
            yield value
        elif isinstance(value, Settings):
            yield from _stacks(value)


def _with_stack(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, Transformer)]


def _inside(stack: Transformer, kind: type[Any]) -> list[Any]:
    return [module for module in stack.blocks.modules() if isinstance(module, kind)]


def _agreed(values: Sequence[Any]) -> Any:
    """The one value that all have; None where they differ."""
    return values[0] if len(set(values)) == 1 else None


def _width(stack: Transformer) -> int:
    attention = stack.blocks[0].attention
    assert isinstance(attention, Attention)
    return int(attention.output.out_features)
