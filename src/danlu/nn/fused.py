"""A stack of blocks whose layers are all codes, in one call of C: for answering on a CPU.

Between its linear layers a block spends as long in torch as in the layers themselves, since each step of it is an
operator that goes over all rows. Here nothing but the stream of the tokens leaves C. Whatever a stack has that C does
not know (attention to a memory, adapters, hooks, gradients) goes the ordinary way: the same numbers, slower.
Shapes: B batch, T tokens, S all tokens seen, D width, G key heads, K head size.
"""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from danlu.kernels import native
from danlu.kernels.library import CBlock, CLayer, CNorm, CRows, CShape, pointers
from danlu.kernels.products import layer_of
from danlu.nn.attention import Attention
from danlu.nn.cache import LayerCache
from danlu.nn.mlp import Mlp
from danlu.nn.norms import RmsNorm
from danlu.nn.positions import Rotation
from danlu.nn.quantized import QuantizedLinear
from danlu.nn.visibility import Visibility

LANES = 16  # widths are multiples of it
NAMES = ("query", "key", "value", "output", "up", "gate", "down")


class Part(NamedTuple):
    """Something that C was told of: where it hangs, and the address of its numbers, if it has some."""

    owner: Mapping[str, Any]
    name: str
    it: Any
    address: int | None

    @property
    def same(self) -> bool:
        there = self.owner.get(self.name)
        return there is self.it and (self.address is None or (there is not None and there.data_ptr() == self.address))


@dataclass(frozen=True)
class Fused:
    """A stack as C sees it, and the parts this was made from: where one has changed it is made anew."""

    shape: CShape
    blocks: Any
    parts: tuple[Part, ...]
    held: tuple[Any, ...]  # tensors that must live as long

    def __deepcopy__(self, memo: object) -> None:
        """A copied stack has other addresses, and is made ready anew."""

    def run(self, x: Tensor, visible: Visibility, turn: Rotation | None, caches: Sequence[LayerCache] | None) -> Tensor:
        """x (B, T, D) float32 -> (B, T, D) after all blocks; keys and values go into the caches."""
        batch, count, _ = x.shape
        x = x.clone(memory_format=torch.contiguous_format)
        size = (batch, int(self.shape.kv_heads), count, int(self.shape.head_size))
        past = 0
        if caches:
            past = caches[0].length
            rooms = [cache.reserve(size, x) for cache in caches]
        else:
            rooms = [(x.new_empty(size), x.new_empty(size))] * len(self.blocks)
        keys, values = (pointers(list(each)) for each in zip(*rooms, strict=True))
        rows = CRows(
            x=x.data_ptr(), batch=batch, count=count, past=past, room=rooms[0][0].shape[2], keys=_address(keys),
            values=_address(values), causal=visible.causal,
        )  # fmt: skip
        scores = visible.scores
        if scores is not None:
            scores = scores.float().expand(*scores.shape[:2], count, past + count).contiguous()
            rows.scores = scores.data_ptr()
            rows.scores_batch_stride, rows.scores_head_stride = (
                scores.stride(at) if scores.shape[at] > 1 else 0 for at in (0, 1)
            )
        if turn is not None:
            cosine, sine = (each.float().contiguous() for each in turn)
            rows.cosine, rows.sine = cosine.data_ptr(), sine.data_ptr()
            rows.turn_stride = cosine.stride(0) if cosine.shape[0] > 1 else 0
        kernels = native()
        assert kernels is not None
        kernels.blocks(self.shape, self.blocks, rows)
        return x


def fused(stack: nn.Module, known: Fused | None, x: Tensor, visible: Sequence[Visibility]) -> Fused | None:
    """The stack for C, the known one where nothing moved; None where it has to go the ordinary way.

    visible: what is seen, once for each window."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or x.device.type != "cpu" or native() is None:
        return None
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or len(visible) != 1:
        return None
    blocks: list[Any] = list(stack.blocks)  # type: ignore[arg-type]
    if any(block.training or block._forward_hooks or block._forward_pre_hooks for block in blocks):
        return None
    if known is not None and all(part.same for part in known.parts):
        return known
    if not all(_fits(block) for block in blocks) or len({bytes(_shape(block)) for block in blocks}) != 1:
        return None
    made = [_block(block) for block in blocks]
    parts = [part for block in blocks for part in _parts(block)] + [Part(stack._modules, "blocks", stack.blocks, None)]
    return Fused(_shape(blocks[0]), (CBlock * len(made))(*(each for each, _ in made)), tuple(parts), tuple(made))


def _fits(block: Any) -> bool:
    """Whether C knows everything this block does."""
    attention, mlp = block.attention, block.mlp
    if hasattr(block, "cross_attention"):
        return False
    if not isinstance(attention, Attention) or not isinstance(mlp, Mlp) or attention.prefixes is not None:
        return False
    if attention.query_norm is not None or attention.head_size % LANES:
        return False
    layers = dict(_layers(block))
    if not all(isinstance(each, QuantizedLinear) for each in layers.values()):
        return False
    if any(each.config.inputs != "int8" or each.config.coding == "nf4" or _odd(each) for each in layers.values()):
        return False
    ways: tuple[str, ...] = ("up", "gate") if "gate" in layers else ("up",)
    together: list[tuple[str, ...]] = [("query", "key", "value"), ways]
    if not hasattr(block, "attention_norm"):  # parallel: all read the same codes
        together = [together[0] + together[1]]
    alike = all(len({(layers[n].group, layers[n].config.input_scale) for n in names}) == 1 for names in together)
    widths = [layers["query"].in_features, layers["up"].out_features, layers["output"].in_features]
    norms = [norm.weight for norm in _norms(block)]
    return alike and not any(width % LANES for width in widths) and all(each.dtype == torch.float32 for each in norms)


def _odd(layer: QuantizedLinear) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks) or (
        layer.bias is not None and layer.bias.dtype != torch.float32
    )


def _layers(block: Any) -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        layer = getattr(block.attention if name in NAMES[:4] else block.mlp, name)
        if layer is not None:
            yield name, layer


def _norms(block: Any) -> tuple[nn.Module, ...]:
    return (block.attention_norm, block.mlp_norm) if hasattr(block, "attention_norm") else (block.norm,)


def _parts(block: Any) -> Iterator[Part]:
    """Whatever C is told of a block, and what would have to be told were it there."""
    yield Part(block.attention._modules, "prefixes", None, None)
    for name in ("attention", "mlp"):
        yield Part(block._modules, name, getattr(block, name), None)
    for name, layer in _layers(block):
        yield Part((block.attention if name in NAMES[:4] else block.mlp)._modules, name, layer, None)
        yield from (Part(layer._parameters, *each) for each in _addresses(layer))
    for norm in _norms(block):
        yield from (Part(norm._parameters, *each) for each in _addresses(norm))


def _addresses(layer: nn.Module) -> Iterator[tuple[str, Any, int | None]]:
    for name, each in layer._parameters.items():
        yield name, each, None if each is None else each.data_ptr()


def _shape(block: Any) -> CShape:
    attention = block.attention
    size, after = attention.head_size, getattr(block, "norm_after", False)
    return CShape(
        width=attention.query.in_features, heads=attention.heads, kv_heads=attention.kv_heads, head_size=size,
        scale=size**-0.5 if attention.scale is None else attention.scale, norm_after=after,
        parallel=not hasattr(block, "attention_norm"), neighbours=attention.pairs == "neighbours",
    )  # fmt: skip


def _block(block: Any) -> tuple[CBlock, list[Any]]:
    layers = dict(_layers(block))
    made: dict[str, CLayer] = {}
    held: list[Any] = []
    activated = "gate" if "gate" in layers else "up"
    for name, layer in layers.items():
        coded, bias = layer.coded, layer.bias
        held += [coded, bias]
        activation = block.mlp.activation.name if name == activated else "none"
        made[name] = layer_of(coded, bias, layer.config.input_scale, activation)
    norms = [_norm(norm) for norm in _norms(block)]
    return CBlock(**made, attention_norm=norms[0], mlp_norm=norms[-1]), held


def _norm(norm: Any) -> CNorm:
    bias = getattr(norm, "bias", None)
    rms = isinstance(norm, RmsNorm)
    return CNorm(norm.weight.data_ptr(), None if bias is None else bias.data_ptr(), norm.eps, rms)


def _address(array: Any) -> int:
    return ctypes.addressof(array)
