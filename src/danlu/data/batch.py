"""What a model is given and what it should have answered."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from danlu.errors import DanluError

IGNORED = -100  # a target that is not asked for; torch's cross-entropy skips it by this number


def share(rows: int, rank: int, size: int) -> slice:
    """Which of `rows` rows belong to one of `size` processes. E2104 where there are not enough for each to have one."""
    if rows < size:
        raise DanluError("E2104", found=size, possible=f"≤ {rows}", rows=rows)
    return slice(rows * rank // size, rows * (rank + 1) // size)


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

    def part(self, rank: int, size: int) -> "Batch":
        """The rows of one of `size` processes: as many as any other's, or one more."""
        mine = share(self.rows, rank, size)
        return Batch(*({name: tensor[mine] for name, tensor in group.items()} for group in (self.inputs, self.targets)))

    def split(self, rows: int) -> list["Batch"]:
        """The same rows in batches of at most `rows`, in order."""

        def part(group: Mapping[str, Tensor], start: int) -> dict[str, Tensor]:
            return {name: tensor[start : start + rows] for name, tensor in group.items()}

        return [Batch(part(self.inputs, at), part(self.targets, at)) for at in range(0, self.rows, rows)]
