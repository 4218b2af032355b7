"""The tensors of a training state by name, and the safetensors format, written as a stream."""

import json
import struct
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from danlu.errors import DanluError

Tensors = dict[str, Tensor]
Scalars = dict[str, Any]

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Writable(Protocol):
    def write(self, raw: Any, /) -> object: ...


def write_tensors(file: Writable, tensors: Mapping[str, Tensor]) -> None:
    """Header length (8 bytes), JSON header, then each tensor's bytes: no second copy of the whole in memory."""
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))  # so that each stays aligned
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(struct.pack("<Q", len(raw)) + raw)
    for _, tensor in ordered:
        file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def model_tensors(model: nn.Module) -> Tensors:
    """Parameters and saved buffers by name; a tied one once, under its first name."""
    unique = {id(tensor): (name, tensor) for name, tensor in reversed(model.state_dict(keep_vars=True).items())}
    return dict(reversed(unique.values()))


@torch.no_grad()
def load_model(model: nn.Module, tensors: Mapping[str, Tensor], where: Any) -> None:
    """Copy tensors into the model of the same names and shapes. E1607 where they are another model's."""
    own = model_tensors(model)
    _same_names(own, tensors, where)
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise DanluError(
                "E1607", where=where, found=f"{name} {tuple(tensors[name].shape)}", possible=tuple(tensor.shape)
            )
        tensor.copy_(tensors[name])


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
    """Give the optimiser back what `optimizer_tensors` took. E1607 where it speaks of other parameters."""
    parameters = dict(model.named_parameters())
    optimizer.state.clear()
    for joint, value in (dict(tensors) | scalars).items():
        key, _, name = joint.partition("/")
        if name not in parameters:
            raise DanluError("E1607", where=where, found=joint)
        parameter = parameters[name]
        optimizer.state[parameter][key] = value.to(parameter.device) if isinstance(value, Tensor) else value


def _same_names(own: Mapping[str, Tensor], found: Mapping[str, Tensor], where: Any) -> None:
    if own.keys() != found.keys():
        raise DanluError(
            "E1607", where=where, found=sorted(found.keys() - own.keys()), possible=sorted(own.keys() - found.keys())
        )
