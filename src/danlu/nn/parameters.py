"""Putting tensors into a model by name, ties kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def undrawn() -> Iterator[None]:
    """While entered, new layers hold no drawn weights: ours are drawn by name, afterwards.

    On the meta device torch's own drawing would also import its compiler, which takes longer than building a model.
    """
    kinds: tuple[Any, ...] = (nn.Linear, nn.Embedding, nn.Conv2d)
    drawing = [kind.reset_parameters for kind in kinds]
    try:
        for kind in kinds:
            kind.reset_parameters = _leave
        yield
    finally:
        for kind, draw in zip(kinds, drawing, strict=True):
            kind.reset_parameters = draw


def _leave(layer: nn.Module) -> None:
    """Draw nothing."""


def tied_names(model: nn.Module) -> dict[str, str]:
    """Every parameter's name -> the first name the same parameter goes by."""
    first: dict[int, str] = {}
    return {name: first.setdefault(id(p), name) for name, p in model.named_parameters(remove_duplicate=False)}


def floating(model: nn.Module) -> torch.dtype:
    """The dtype a model computes in: that of its first parameter that is no code."""
    return next(each.dtype for each in model.parameters() if each.is_floating_point())


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make tensors the model's parameters, without a copy; one assigned under a tied name serves all of its names."""
    ties = tied_names(model)
    trains = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    made = {ties[name]: tensor for name, tensor in tensors.items()}
    parameters = {name: nn.Parameter(tensor, trains[name]) for name, tensor in made.items()}
    for name, first in ties.items():
        if first in parameters:
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, parameters[first])


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(owner), leaf, module)


def materialize(model: nn.Module, device: str | torch.device, dtype: torch.dtype | None = None) -> None:
    """Give every parameter that is still on the meta device memory of its own, contents undefined."""
    empty = {
        name: torch.empty(p.shape, dtype=dtype or p.dtype, device=device)
        for name, p in model.named_parameters()
        if p.is_meta
    }
    assign(model, empty)
