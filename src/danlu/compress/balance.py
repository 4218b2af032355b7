"""Inputs and weights balanced before they are rounded: what divides a layer's inputs multiplies its weights, and is
folded into whatever gives these inputs, so that the model computes the same.

Only what is linear in its scale can take it: a norm that nothing else reads, values before the output of an attention,
one way of a gated feed-forward. Shapes: I inputs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from danlu.compress.calibration import LayerStatistics
from danlu.nn.attention import Attention
from danlu.nn.coding import grid
from danlu.nn.mlp import Mlp
from danlu.nn.transformer import Block, ParallelBlock

Balance = Literal["awq", "smoothquant"]
STRENGTHS = tuple(step / 10 for step in range(11))  # of the search
SMOOTH = 0.5  # half of the difficulty moves from inputs to weights (Xiao et al. 2023, eq. 4)


@dataclass(frozen=True)
class Pair:
    """Layers that read the same inputs, and the layer that gives these: a norm, or the rows of a linear layer."""

    giver: nn.Module
    readers: tuple[str, ...]  # paths in the block


def pairs(block: nn.Module) -> Iterator[Pair]:
    """Where a block can be balanced; nowhere, if it is no block."""
    if not isinstance(block, (Block, ParallelBlock)):
        return
    own = ("attention.query", "attention.key", "attention.value")
    if isinstance(block, ParallelBlock):
        yield Pair(block.norm, (*own, *_ways(block.mlp)))
    elif not block.norm_after:  # a norm after the sum is read by the next sum too
        yield Pair(block.attention_norm, own)
        yield Pair(block.mlp_norm, _ways(block.mlp))
        if hasattr(block, "cross_attention"):
            yield Pair(block.cross_attention_norm, ("cross_attention.query",))
    for name, layer in block.named_modules():
        if isinstance(layer, Attention) and layer.heads == layer.kv_heads:
            yield Pair(layer.value, (f"{name}.output",))
        if isinstance(layer, Mlp) and (layer.gate is not None or layer.activation.name == "relu"):
            yield Pair(layer.up, (f"{name}.down",))


def _ways(mlp: Mlp) -> tuple[str, ...]:
    return ("mlp.up",) if mlp.gate is None else ("mlp.up", "mlp.gate")


@torch.no_grad()
def fold(pair: Pair, block: nn.Module, factors: Tensor) -> None:
    """Divide what is given by the factors (I,) and multiply the weights that read it."""
    for name in pair.readers:
        block.get_parameter(f"{name}.weight").mul_(factors)
    weight, bias = pair.giver.weight, getattr(pair.giver, "bias", None)
    assert isinstance(weight, Tensor)
    weight.div_(factors if weight.ndim == 1 else factors[:, None])
    if bias is not None:
        bias.div_(factors)


def smooth(pair: Pair, block: nn.Module, statistics: LayerStatistics) -> Tensor:
    """By the largest input and the largest weight of each channel (Xiao et al. 2023, eq. 4): (I,)."""
    assert statistics.maxima is not None
    largest = torch.stack([block.get_parameter(f"{name}.weight").abs().amax(0) for name in pair.readers]).amax(0)
    return _tame(statistics.maxima.to(largest) ** SMOOTH / largest.clamp(min=1e-5) ** (1 - SMOOTH))


@torch.no_grad()
def awq(
    pair: Pair, block: nn.Module, statistics: LayerStatistics, bits: int, group: int | None, symmetric: bool
) -> Tensor:
    """The power of the mean input with which rounded weights lose least of the outputs (Lin et al. 2024, eq. 5)."""
    assert statistics.means is not None
    assert statistics.gram is not None
    weights = [block.get_parameter(f"{name}.weight").float() for name in pair.readers]
    gram, means = statistics.gram.to(weights[0]), statistics.means.to(weights[0]).clamp(min=1e-6)
    best, kept = torch.inf, torch.ones_like(means)
    for strength in STRENGTHS:
        factors = _tame(means**strength)
        loss = 0.0
        for weight in weights:
            lost = grid(weight * factors, bits, group, symmetric).rounded(weight * factors) / factors - weight
            loss += float(((lost @ gram) * lost).sum())
        if loss < best:
            best, kept = loss, factors
    return kept


def _tame(factors: Tensor) -> Tensor:
    """Around one, and never far from it."""
    factors = factors / (factors.max() * factors.min()).sqrt().clamp(min=1e-8)
    return factors.clamp(1e-3, 1e3)
