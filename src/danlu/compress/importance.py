"""How much a head, a feed-forward unit, a layer or a channel of the stream is worth: small is what may go.

Every measure is a sum of squares or of first-order changes of the loss, so that those of several layers can be added.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from danlu.compress.calibration import Calibration, Kind, LayerStatistics, Statistics, still
from danlu.compress.surgery import groups_of
from danlu.nn.attention import Attention
from danlu.nn.mlp import Mlp
from danlu.nn.transformer import Transformer

Measure = Literal["magnitude", "activation", "taylor", "fisher"]
NEEDS: Mapping[Measure, tuple[Kind, ...]] = {
    "magnitude": (), "activation": ("norms",), "taylor": ("taylor",), "fisher": ("fisher",),
}  # fmt: skip


def of_inputs(linear: nn.Linear, statistics: LayerStatistics | None, measure: Measure) -> Tensor:
    """What each input of a layer is worth: (I,), except for the Taylor terms of heads, which are a head's: (H,).

    activation: the squared length of what it adds to the outputs. fisher: the loss it costs to second order, with the
    diagonal of the Fisher matrix for the curvature (LeCun et al. 1990, eq. 5; Kwon et al. 2022). taylor: to first order
    (Michel et al. 2019; Molchanov et al. 2019).
    """
    squares = linear.weight.detach().float().square()
    if measure == "magnitude":
        return squares.sum(0)
    assert statistics is not None
    if measure == "activation":
        assert statistics.norms is not None
        return squares.sum(0) * statistics.norms.square()
    if measure == "fisher":
        assert statistics.fisher is not None
        return (squares * statistics.fisher).sum(0)
    assert statistics.taylor is not None
    return statistics.taylor


def of_heads(attention: Attention, statistics: LayerStatistics | None, measure: Measure) -> Tensor:
    """Of each group of heads: (G,)."""
    assert isinstance(attention.output, nn.Linear)
    count, _ = groups_of(attention)
    worth = of_inputs(attention.output, statistics, measure).view(count, -1).sum(1)
    if measure == "magnitude" and attention.kv_heads == count:  # what leaves a head is made of its values, too
        values = attention.value.weight.detach().float().square().sum(1)
        worth = worth * values.view(count, -1).sum(1)
    return worth


def of_units(mlp: Mlp, statistics: LayerStatistics | None, measure: Measure) -> Tensor:
    """Of each inner unit: (I,)."""
    assert isinstance(mlp.down, nn.Linear)
    worth = of_inputs(mlp.down, statistics, measure)
    if measure == "magnitude":
        worth = worth * mlp.up.weight.detach().float().square().sum(1)
    return worth


def of_channels(readers: Sequence[tuple[nn.Linear, LayerStatistics | None]], width: int, measure: Measure) -> Tensor:
    """Of each channel of the stream, over all layers that read it: (D,). A layer counts by its share of the whole."""
    total = torch.zeros(width)
    for linear, statistics in readers:
        worth = of_inputs(linear, statistics, "magnitude" if measure == "magnitude" else measure).cpu()
        total += worth / worth.sum().clamp(min=torch.finfo(torch.float32).tiny)
    return total


def of_layers(model: nn.Module, stack: Transformer, calibration: Calibration) -> Tensor:
    """What a stack loses without each of its blocks: (L,). By the loss, where there is one, otherwise by how far a
    block turns the stream, 1 - cosine (Men et al. 2024, eq. 2)."""
    if calibration.loss is None:
        return _turns(model, stack, calibration)
    worths = []
    for index in range(len(stack.blocks)):
        with _skipped(stack.blocks[index]):
            worths.append(calibration.value(model))
    return torch.tensor(worths)


class _skipped:
    """While entered, a block hands on what it is given."""

    def __init__(self, block: nn.Module):
        self.block = block

    def __enter__(self) -> None:
        self.hook = self.block.register_forward_hook(_handed_on, with_kwargs=True)

    def __exit__(self, *failure: object) -> None:
        self.hook.remove()


def _handed_on(block: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, object], out: Tensor) -> Tensor:
    """A last block of which one token is read gives that token alone."""
    x, read = given[0], named.get("read")
    if read is None:
        return x
    rows = torch.arange(len(x), device=x.device)
    chosen: Tensor = x[rows, read][:, None] if isinstance(read, Tensor) else x[:, read][:, None]  # type: ignore[index]
    return chosen


def _turns(model: nn.Module, stack: Transformer, calibration: Calibration) -> Tensor:
    turned = torch.zeros(len(stack.blocks))

    def note(index: int) -> Callable[..., None]:
        def hook(block: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, object], out: Tensor) -> None:
            before = _handed_on(block, given, named, out)
            turned[index] += (1 - cosine_similarity(before.float(), out.float(), dim=-1)).mean().cpu()

        return hook

    hooks = [block.register_forward_hook(note(at), with_kwargs=True) for at, block in enumerate(stack.blocks)]
    try:
        with still(model), torch.no_grad():
            for batch in calibration.batches:
                model(**batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return turned


def refitted(linear: nn.Linear, statistics: Statistics, path: str, kept: Tensor, damping: float = 0.01) -> Tensor:
    """The weights on the inputs that stay which give the outputs nearest to those of all inputs: W H[:, k] H[k, k]⁻¹,
    a least-squares fit over what the layer was seen to read: (O, K)."""
    gram = statistics[path].gram
    assert gram is not None
    kept = kept.to(gram.device)
    inner = gram[kept][:, kept].double()
    inner += torch.eye(len(kept), device=gram.device, dtype=inner.dtype) * damping * inner.diagonal().mean()
    wanted = linear.weight.detach().double().to(gram.device) @ gram[:, kept].double()
    fitted: Tensor = torch.linalg.solve(inner, wanted.T).T.to(linear.weight)
    return fitted
