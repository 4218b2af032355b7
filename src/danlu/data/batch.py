"""What a model is given and what it should have answered."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100  # a target that is not asked for; torch's cross-entropy skips it by this number


@dataclass(frozen=True)
class Batch:
    """Tensors that share their first dimension, the rows.

    `inputs` are the keyword arguments of `model.hidden`; `valid` and `documents` are there only where a row needs them.
    `targets` are right answers by name; `targets["tokens"]` is (B, T) with `IGNORED` where nothing is asked.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]

    @property
    def rows(self) -> int:
        return next(iter(self.inputs.values())).shape[0]

    def count(self, name: str) -> int:
        """How many targets of this name are asked for."""
        return int((self.targets[name] != IGNORED).sum())

    def to(self, device: torch.device | str) -> "Batch":
        def moved(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in group.items()}

        return Batch(moved(self.inputs), moved(self.targets))

    def split(self, rows: int) -> list["Batch"]:
        """The same rows in batches of at most `rows`, in order."""

        def part(group: Mapping[str, Tensor], start: int) -> dict[str, Tensor]:
            return {name: tensor[start : start + rows] for name, tensor in group.items()}

        return [Batch(part(self.inputs, at), part(self.targets, at)) for at in range(0, self.rows, rows)]
