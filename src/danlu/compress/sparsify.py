"""Which weights of one linear layer become zero, and what the others become: magnitude, Wanda, SparseGPT.

Shapes: W (O, I). All work in float32, on one layer alone; the share is of its weights. `pattern` (n, m): of every m
neighbours in a row n stay, whatever the share says.
"""

import torch
from torch import Tensor

from danlu.compress.calibration import LayerStatistics

Pattern = tuple[int, int]
BLOCK = 128  # columns SparseGPT decides on together (Frantar and Alistarh 2023, 3.3)


def magnitude(weight: Tensor, share: float, pattern: Pattern | None = None) -> Tensor:
    """The smallest weights of the layer go."""
    size = weight.float().abs()
    if pattern:
        return weight * _kept_of_each(size, pattern)
    gone = _smallest(size.flatten()[None], share)[0].view_as(size)
    return weight.masked_fill(gone, 0)


def wanda(weight: Tensor, statistics: LayerStatistics, share: float, pattern: Pattern | None = None) -> Tensor:
    """In each row those go for which |w| times the norm of their input is smallest (Sun et al. 2024, eq. 1)."""
    assert statistics.norms is not None
    size = weight.float().abs() * statistics.norms.to(weight.device)
    if pattern:
        return weight * _kept_of_each(size, pattern)
    return weight.masked_fill(_smallest(size, share), 0)


def sparse_gpt(
    weight: Tensor, statistics: LayerStatistics, share: float, pattern: Pattern | None = None, damping: float = 0.01
) -> Tensor:
    """Column by column, and what a zero loses the columns behind it make good (Frantar and Alistarh 2023, algorithm 1).

    damping: added to the diagonal of H = X Xᵀ, as a share of its mean.
    """
    assert statistics.gram is not None
    upper, dead = inverse_root(statistics.gram, damping)
    made = weight.detach().float().clone()
    made[:, dead] = 0
    columns = made.shape[1]
    block = BLOCK if pattern is None else -(-BLOCK // pattern[1]) * pattern[1]
    for start in range(0, columns, block):
        end = min(start + block, columns)
        part, root = made[:, start:end], upper[start:end, start:end]
        losses = part.square() / root.diagonal().square()
        gone = torch.zeros_like(part, dtype=torch.bool)
        if pattern is None:
            gone = _smallest(losses.flatten()[None], share)[0].view_as(part)
        errors = torch.zeros_like(part)
        for column in range(end - start):
            if pattern is not None and column % pattern[1] == 0:
                step = slice(column, column + pattern[1])
                here = part[:, step].square() / root.diagonal()[step].square()
                gone[:, step] = ~_kept_of_each(here, pattern)
            before = part[:, column]
            after = before.masked_fill(gone[:, column], 0)
            error = (before - after) / root[column, column]
            part[:, column:] -= error[:, None] * root[column, column:]
            part[:, column] = after
            errors[:, column] = error
        made[:, end:] -= errors @ upper[start:end, end:]
    return made.to(weight.dtype)


def inverse_root(gram: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """The upper Cholesky factor of H⁻¹, and which inputs never were anything but zero.

    The damping grows until H can be inverted; dead inputs have 1 on the diagonal.
    """
    whole = gram.float().clone()
    diagonal = whole.diagonal()
    dead = diagonal == 0
    diagonal[dead] = 1
    mean = diagonal.mean().item()
    for stronger in (1, 10, 100, 1000):
        damped = whole + torch.eye(len(whole), device=whole.device) * (damping * stronger * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            inverse = torch.cholesky_inverse(lower)
            upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not failed:
                return upper, dead
    return torch.diag(diagonal.rsqrt()), dead  # nothing makes good for anything: magnitude by input


def objective(weight: Tensor, made: Tensor, gram: Tensor) -> float:
    """What a layer's outputs lose: the squared length of (W - W') X, from H = X Xᵀ."""
    change = (weight - made).float()
    return float(((change @ gram) * change).sum())


def _smallest(size: Tensor, share: float) -> Tensor:
    """In each row of (R, N), the given share of the smallest: true where they are; ties go to the first."""
    count = int(size.shape[1] * share)
    gone = torch.zeros_like(size, dtype=torch.bool)
    return gone.scatter_(1, size.argsort(dim=1, stable=True)[:, :count], True)


def _kept_of_each(size: Tensor, pattern: Pattern) -> Tensor:
    """Of every m neighbours in a row the n largest: true where they are."""
    stay, group = pattern
    rows, columns = size.shape
    padded = torch.nn.functional.pad(size, (0, -columns % group), value=-1.0).view(rows, -1, group)
    kept = torch.zeros_like(padded, dtype=torch.bool).scatter_(2, padded.topk(stay, 2).indices, True)
    return kept.view(rows, -1)[:, :columns]
