"""Dropout whose noise is drawn by a fast counter-based generator on the CPU."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero a share `p` of the values and scale the rest so that the mean stays (Srivastava et al. 2014).

    torch fills CPU masks one number at a time on one core, which costs a tenth of a small model's training step. Here
    torch's default generator gives a single seed and numpy's SFC64 the noise, at several bytes a nanosecond. Whoever
    seeds torch seeds this.
    """
    if p == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():  # a number drawn for numpy would break the graph
        return F.dropout(x, p)
    seed = int(torch.randint(2**62, ()))
    noise = np.random.SFC64(seed).random_raw(-(-x.numel() // 4)).view(np.uint16)  # four draws from each word of 64 bits
    threshold = round(p * 2**16)
    keep = torch.from_numpy(noise[: x.numel()] >= threshold).view(x.shape)
    return x * keep.to(x.dtype).mul_(2**16 / (2**16 - threshold))


class Dropout(nn.Module):
    """`dropout` while training, nothing otherwise."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        return f"p={self.p}"
