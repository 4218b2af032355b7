"""Tensors that are divided among processes: each holds some rows of the first dimension.

FSDP2's tensors (`DTensor`) are known here by their methods, so that a run of one process never imports them.
"""

from typing import Any

import torch
from torch import Tensor


def rows_of(rows: int, rank: int, size: int) -> slice:
    """The rows of a tensor that a process holds, as torch cuts them: equal chunks, the last ones shorter or empty."""
    chunk = -(-rows // size)
    return slice(min(rank * chunk, rows), min((rank + 1) * chunk, rows))


def is_divided(tensor: Tensor) -> bool:
    """Whether this process holds only some of the rows."""
    return any(placement.is_shard() for placement in getattr(tensor, "placements", ()))


def own(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor; the whole of an ordinary one."""
    mine: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return mine.detach()


def whole(tensor: Tensor) -> Tensor:
    """All rows, put together by all processes at once."""
    every: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return every.detach()


def own_rows(like: Tensor, every: Tensor) -> Tensor:
    """Of a whole tensor, the rows that this process holds of `like`."""
    if not is_divided(like):
        return every
    mesh: Any = like.device_mesh  # type: ignore[attr-defined]
    return every[rows_of(every.shape[0], mesh.get_local_rank(), mesh.size())]


def placed(like: Tensor, every: Tensor, rows: bool = False) -> Tensor:
    """A copy of a whole tensor that belongs to the parameter `like`: divided as it is where it has the same shape.

    Of another shape (a sum for each row, say) every process holds all of it, or with `rows` its rows; a single number
    is an ordinary tensor.
    """
    if not is_divided(like) or not every.ndim:
        return every.to(like.device, copy=True)
    # Known to be imported by now, because there are divided tensors.
    from torch.distributed.tensor import DTensor, Replicate

    pattern: Any = like
    alike = rows or every.shape == like.shape
    mine = (own_rows(like, every) if alike else every).to(like.device, copy=True)
    placements = pattern.placements if alike else [Replicate()]
    made: Tensor = DTensor.from_local(
        mine, pattern.device_mesh, placements, run_check=False, shape=every.shape, stride=_stride(every.shape)
    )
    return made


def _stride(shape: torch.Size) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()
