"""Cutting a model smaller: heads, feed-forward units, layers, the stream between them, the vocabulary.

Everything here keeps tensors of what stays and drops the rest; what stays is told by indices in rising order. A model's
config is told too where it can say it; `shapes` tells the rest.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from danlu.models.build import Model
from danlu.nn.attention import Attention
from danlu.nn.mlp import Mlp
from danlu.nn.positions import RelativeBias
from danlu.nn.transformer import Transformer


def groups_of(attention: Attention) -> tuple[int, int]:
    """How many groups of heads go or stay together, and how many heads each has: those that share a key head; where
    there is one key head alone, each head for itself."""
    if attention.kv_heads == 1:
        return attention.heads, 1
    return attention.kv_heads, attention.heads // attention.kv_heads


def keep_heads(attention: Attention, groups: Sequence[int]) -> None:
    """Keep these groups of heads."""
    count, share = groups_of(attention)
    queries = _spread(groups, attention.head_size * share, attention.query.weight.device)
    attention.query = _kept(attention.query, outputs=queries)
    attention.output = _kept(attention.output, inputs=queries)
    attention.heads = share * len(groups)
    if attention.kv_heads == count:
        keys = _spread(groups, attention.head_size, attention.query.weight.device)
        attention.key, attention.value = (_kept(each, outputs=keys) for each in (attention.key, attention.value))
        attention.kv_heads = len(groups)


def keep_bias(bias: RelativeBias, groups: Sequence[int], share: int) -> None:
    """The same of a bias on scores: a column a head."""
    bias.table = _kept_table(bias.table, columns=_spread(groups, share, bias.table.weight.device))


def keep_units(mlp: Mlp, units: Tensor) -> None:
    mlp.up = _kept(mlp.up, outputs=units)
    mlp.gate = None if mlp.gate is None else _kept(mlp.gate, outputs=units)
    mlp.down = _kept(mlp.down, inputs=units)


def keep_layers(stack: Transformer, layers: Sequence[int]) -> None:
    """Windows of attention stay with their layers."""
    windows = tuple(stack.config.window(layer) for layer in layers)
    stack.blocks = nn.ModuleList(stack.blocks[layer] for layer in layers)
    windows = windows[:1] if len(set(windows)) == 1 else windows
    attention = stack.config.attention.model_copy(update={"windows": windows})
    stack.config = stack.config.model_copy(update={"depth": len(layers), "attention": attention})


def keep_rows(table: nn.Embedding, rows: Tensor) -> nn.Embedding:
    return _kept_table(table, rows=rows)


def keep_outputs(linear: nn.Linear, outputs: Tensor) -> nn.Linear:
    return _kept(linear, outputs=outputs)


def widths(model: nn.Module) -> list[tuple[str, int]]:
    """The streams that can be narrowed: (path of what they run through, width). All of a model's towers of text are
    one, because they share a table; beside pictures it is the text tower's alone."""
    root = "text" if hasattr(model, "text_projection") else ""
    first = next(module for module in model.get_submodule(root).modules() if isinstance(module, Transformer))
    return [(root, int(first.blocks[0].attention.output.out_features))]  # type: ignore[union-attr, arg-type]


def narrowed(model: nn.Module, root: str, channels: Tensor, width: int) -> None:
    """Keep these channels of a stream: of every parameter along it, tied ones once."""
    places: dict[int, tuple[nn.Parameter, set[int], list[tuple[nn.Module, str]]]] = {}
    for module, name, axis in streams(model, root, width):
        parameter = getattr(module, name)
        _, axes, owners = places.setdefault(id(parameter), (parameter, set(), []))
        axes.add(axis)
        owners.append((module, name))
    for parameter, axes, owners in places.values():
        tensor = parameter.detach()
        for axis in axes:
            tensor = tensor.index_select(axis, channels.to(tensor.device))
        made = nn.Parameter(tensor.clone(), parameter.requires_grad)
        for module, name in owners:
            setattr(module, name, made)
            _describe(module)


def readers_of(model: nn.Module, root: str) -> list[tuple[str, nn.Linear]]:
    """The layers inside blocks that read a stream, by path."""
    return [
        (path, module)
        for path, module in model.named_modules()
        if path.startswith(root) and ".blocks." in path and isinstance(module, nn.Linear)
        and path.endswith((".query", ".key", ".value", ".up", ".gate"))
    ]  # fmt: skip


def streams(model: nn.Module, root: str, width: int) -> Iterator[tuple[nn.Module, str, int]]:
    """Parameters along a stream: module, name, and which of its axes the stream is.

    Attention and feed-forward read with their columns and write with their rows; tables, norms, positions and heads are
    as wide as the stream.
    """
    whole = model.get_submodule(root)
    inside: set[int] = set()
    for module in whole.modules():
        if isinstance(module, (Attention, Mlp)):
            inside.update(map(id, module.modules()))
            reading = ("query", "key", "value") if isinstance(module, Attention) else ("up", "gate")
            for name in reading:
                if getattr(module, name) is not None:
                    yield getattr(module, name), "weight", 1
            yield from _written(module.output if isinstance(module, Attention) else module.down)
    for path, module in whole.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, nn.Embedding) and module.embedding_dim == width and "relative_bias" not in path:
            yield module, "weight", 1
        elif isinstance(module, nn.Linear):
            if module.in_features == width:
                yield module, "weight", 1
            if module.out_features == width and not path.endswith("output"):
                yield from _written(module)
        elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)) and tuple(module.normalized_shape) == (width,):
            for name in ("weight", "bias"):
                if getattr(module, name, None) is not None:
                    yield module, name, 0
    if root == "text":
        yield model.get_submodule("text_projection"), "weight", 1


def _written(linear: nn.Module) -> Iterator[tuple[nn.Module, str, int]]:
    yield linear, "weight", 0
    if getattr(linear, "bias", None) is not None:
        yield linear, "bias", 0


def _describe(module: nn.Module) -> None:
    """Numbers that torch's layers keep beside their parameters."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        module.normalized_shape = tuple(weight.shape)


def stacks(model: Model) -> list[tuple[str, Transformer]]:
    """Every stack of blocks, by its path."""
    return [(path, module) for path, module in model.named_modules() if isinstance(module, Transformer)]


# Tensors


def _spread(groups: Sequence[int], size: int, device: torch.device) -> Tensor:
    """Groups 0, 2 of size 3 -> 0 1 2 6 7 8."""
    starts = torch.as_tensor(list(groups), device=device)[:, None] * size
    return (starts + torch.arange(size, device=device)).flatten()


def _kept(linear: nn.Module, inputs: Tensor | None = None, outputs: Tensor | None = None) -> nn.Linear:
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight.detach(), linear.bias
    if outputs is not None:
        weight = weight.index_select(0, outputs.to(weight.device))
        bias = None if bias is None else nn.Parameter(bias.detach().index_select(0, outputs.to(weight.device)))
    if inputs is not None:
        weight = weight.index_select(1, inputs.to(weight.device))
    with torch.device("meta"):
        made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    made.weight = nn.Parameter(weight.clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made.train(linear.training)


def _kept_table(table: nn.Embedding, rows: Tensor | None = None, columns: Tensor | None = None) -> nn.Embedding:
    weight = table.weight.detach()
    for axis, kept in enumerate((rows, columns)):
        weight = weight if kept is None else weight.index_select(axis, kept.to(weight.device))
    made = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
    made.weight = nn.Parameter(weight.clone())
    return made.train(table.training)
