"""Which number format the matrix products of a forward pass run in."""

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype a linear layer would give for `x`: autocast's where it is on."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def compute(x: Tensor) -> Tensor:
    """`x` as linear layers want it: cast once where several of them read it."""
    return x.to(compute_dtype(x))
