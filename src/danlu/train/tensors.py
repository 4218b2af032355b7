"""The tensors of a training state, by name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.errors import DanluError
from danlu.nn.norms import moving
from danlu.train.divided import own, own_rows, placed

Tensors = dict[str, Tensor]
Scalars = dict[str, Any]


def model_tensors(model: nn.Module) -> Tensors:
    """Parameters that train or move, and saved buffers, by name; a tied one once, under its first name."""
    state, moves = model.state_dict(keep_vars=True), moving(model)
    unique = {
        id(tensor): (name, tensor)
        for name, tensor in reversed(state.items())
        if tensor.requires_grad or not isinstance(tensor, nn.Parameter) or name in moves
    }
    return dict(reversed(unique.values()))


@torch.no_grad()
def load_model(model: nn.Module, tensors: Mapping[str, Tensor], where: Any) -> None:
    """Copy tensors into the model of the same names and shapes. E1607 where they are another model's."""
    mine = model_tensors(model)
    _same_names(mine, tensors, where)
    for name, tensor in mine.items():
        if tensor.shape != tensors[name].shape:
            raise DanluError(
                "E1607", where=where, found=f"{name} {tuple(tensors[name].shape)}", possible=tuple(tensor.shape)
            )
        own(tensor).copy_(own_rows(tensor, tensors[name]))


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Tensors, Scalars]:
    """What the optimiser remembers of each parameter, as `key/parameter name`; plain numbers apart."""
    tensors: Tensors = {}
    scalars: Scalars = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            kind: dict[str, Any] = tensors if isinstance(value, Tensor) else scalars
            kind[f"{key}/{name}"] = value
    return tensors, scalars


def load_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], scalars: Scalars, where: Any
) -> None:
    """Give the optimiser back what `optimizer_tensors` took. E1607 where it speaks of other parameters.

    What has a parameter's shape is divided among processes as the parameter is.
    """
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for joint in (*tensors, *scalars):
        key, _, name = joint.partition("/")
        if name not in parameters:
            raise DanluError("E1607", where=where, found=joint)
        parameter = parameters[name]
        if joint in scalars:
            optimizer.state[parameter][key] = scalars[joint]
            continue
        optimizer.state[parameter][key] = placed(parameter, tensors[joint], joint in getattr(tensors, "rows", ()))


def _same_names(own: Mapping[str, Tensor], found: Mapping[str, Tensor], where: Any) -> None:
    if own.keys() != found.keys():
        raise DanluError(
            "E1607", where=where, found=sorted(found.keys() - own.keys()), possible=sorted(own.keys() - found.keys())
        )
