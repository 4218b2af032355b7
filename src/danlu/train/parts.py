"""A checkpoint's tensors on the disk: one file, or a part from each process, read by any number of processes.

A part is a safetensors file of the rows that its process held. The manifest says of each group which files its parts
are, in order, and how many rows each divided tensor has in all: rows are put together in that order. What is not
divided lies in the first part.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from danlu.errors import DanluError

Parts = dict[str, Any]  # {"files": [name, ...], "rows": {tensor: rows in all}}


def part_name(group: str, rank: int, size: int) -> str:
    return f"{group}.safetensors" if size == 1 else f"{group}-{rank + 1:05d}-of-{size:05d}.safetensors"


def part_of(tensors: Mapping[str, Tensor], rows: Mapping[str, int], leads: bool) -> dict[str, Tensor]:
    """What one process writes: its rows of what is divided; of the rest everything, if it leads."""
    return {name: tensor for name, tensor in tensors.items() if (tensor.numel() if name in rows else leads)}


class Stored(Mapping[str, Tensor]):
    """The tensors of a group by name, whole, on the CPU; each is read when it is asked for."""

    def __init__(self, folder: Path, parts: Parts):
        self.folder, self.rows = folder, parts["rows"]
        self.where: dict[str, list[Path]] = {}
        for name in parts["files"]:
            with safe_open(folder / name, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118
                    self.where.setdefault(key, []).append(folder / name)

    def __getitem__(self, name: str) -> Tensor:
        """A copy: the library maps the file into memory, and the file may be gone before the tensor is. E1611."""
        pieces: list[Tensor] = []
        for path in self.where[name]:
            with safe_open(path, framework="pt") as file:
                pieces.append(file.get_tensor(name))
        if name not in self.rows:
            return pieces[0].clone()
        if (found := sum(piece.shape[0] for piece in pieces)) != self.rows[name]:
            raise DanluError("E1611", where=self.folder, name=name, found=found, possible=self.rows[name])
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)
