"""Parameters sorted by what an optimiser does with them, and the pieces optimisers share."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Group = dict[str, Any]  # of torch.optim: `params`, `lr`, `weight_decay` and what else the optimiser reads


@dataclass(frozen=True)
class Sorted:
    """The trainable parameters of a model: matrices, tables (embeddings, the vocabulary head, kernels), vectors."""

    matrices: list[Tensor]
    tables: list[Tensor]
    vectors: list[Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> "Sorted":
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        tables |= {id(p) for name, p in model.named_parameters() if name.endswith("head.output.weight")}
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in trainable if parameter.ndim == 2 and id(parameter) not in tables]
        vectors = [parameter for parameter in trainable if parameter.ndim < 2]
        kept = {id(parameter) for parameter in matrices + vectors}
        return cls(list(matrices), [p for p in trainable if id(p) not in kept], list(vectors))


def with_gradient(group: Group) -> list[Tensor]:
    return [parameter for parameter in group["params"] if parameter.grad is not None]


def gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def by_shape(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        alike[parameter.shape].append(parameter)
    yield from alike.values()


def remembered(optimizer: torch.optim.Optimizer, parameters: list[Tensor], name: str) -> list[Tensor]:
    """What the optimiser keeps of each parameter under a name: zeros in its shape at first."""
    for parameter in parameters:
        if name not in optimizer.state[parameter]:
            optimizer.state[parameter][name] = torch.zeros_like(parameter)
    return [optimizer.state[parameter][name] for parameter in parameters]


def count_step(optimizer: torch.optim.Optimizer, parameters: list[Tensor]) -> int:
    """How often these parameters have been updated, this time included: they are, together."""
    for parameter in parameters:
        optimizer.state[parameter]["step"] = optimizer.state[parameter].get("step", 0) + 1
    return int(optimizer.state[parameters[0]]["step"])
