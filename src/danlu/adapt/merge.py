"""Adapters made part of the weights, and taken out again."""

from dataclasses import dataclass

from torch import nn

from danlu.adapt.layers import AdaptedLinear, LowRank, Scaling
from danlu.adapt.targets import Linear, adapters, linear_layers
from danlu.errors import DanluError
from danlu.nn.adapters import Prefixes, Prompts
from danlu.nn.parameters import replace_module
from danlu.nn.quantized import QuantizedLinear


@dataclass(frozen=True)
class Merged:
    """What a merge took out of a model."""

    model: nn.Module
    before: dict[str, nn.Module]

    def undo(self) -> None:
        """Put the layers back that were there: the same bits."""
        for path, layer in self.before.items():
            replace_module(self.model, path, layer)


def merge(model: nn.Module) -> Merged:
    """Make the adapters at work part of the weights: a plain model that computes the same.

    A base that was kept as codes becomes dense: what the adapter learnt belongs to those weights, not to the ones they
    were made of. E2007 for an adapter that no plain model can compute.
    """
    for path, place in adapters(model):
        part = place.at_work
        if part is not None and not isinstance(part, (LowRank, Scaling)):
            raise DanluError("E2007", where=path, found=type(part).__name__)
    before: dict[str, nn.Module] = {}
    for path, layer in linear_layers(model).items():
        if isinstance(layer, (AdaptedLinear, QuantizedLinear)):
            before[path] = layer
            replace_module(model, path, plain(layer))
    return Merged(model, before)


def plain(layer: Linear) -> nn.Linear:
    """The one linear layer that computes what an adapted or coded one does."""
    base = layer.base if isinstance(layer, AdaptedLinear) else layer
    part = layer.at_work if isinstance(layer, AdaptedLinear) else None
    if part is None and isinstance(base, nn.Linear):
        return base
    if isinstance(part, (LowRank, Scaling)):
        weight, bias = part.merged(base)
    else:
        assert isinstance(base, QuantizedLinear)
        weight, bias = base.dense(), base.bias
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.detach())
    linear.bias = None if bias is None else nn.Parameter(bias.detach())  # type: ignore[assignment]
    return linear.train(layer.training)


def detach(model: nn.Module) -> None:
    """Remove every adapter; layers are what they were before."""
    for path, layer in linear_layers(model).items():
        if isinstance(layer, AdaptedLinear):
            replace_module(model, path, layer.base)
    for path, place in list(adapters(model)):
        if isinstance(place, (Prefixes, Prompts)):
            owner, _, leaf = path.rpartition(".")
            setattr(model.get_submodule(owner), leaf, None)
