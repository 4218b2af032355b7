"""Which codes a linear layer gets when its inputs are known: weights not yet rounded make good for each rounding.

Shapes: W (O, I), H = X Xᵀ (I, I). All work in float32, on one layer alone.
"""

import torch
from torch import Tensor

from danlu.compress.sparsify import inverse_root
from danlu.nn.coding import Grid, grid

BLOCK = 128  # columns whose corrections reach the others together (Frantar et al. 2023, section 3.3)
SHRINKS = tuple(1 - step / 20 for step in range(9))  # how far scales may fall short of the largest weights


@torch.no_grad()
def gptq(weight: Tensor, gram: Tensor, on: Grid, damping: float = 0.01, ordered: bool = True) -> Tensor:
    """Codes (O, I) of a grid (Frantar et al. 2023, algorithm 1).

    damping: added to the diagonal of H, as a share of its mean. ordered: inputs with the largest H come first, while
    groups stay where they are, so that the runtime need not know of it.
    """
    made = weight.detach().float().clone()
    inputs = made.shape[1]
    order = gram.diagonal().argsort(descending=True, stable=True) if ordered else torch.arange(inputs)
    order = order.to(weight.device)
    upper, dead = inverse_root(gram[order][:, order], damping)
    made = made[:, order]
    made[:, dead] = 0
    scale, zero = (each[:, order].contiguous() for each in on.spread(inputs))
    codes = torch.empty_like(made)
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        # By columns: each is then one stretch of memory.
        part, root = made[:, start:end].T.contiguous(), upper[start:end, start:end]
        errors = torch.zeros_like(part)
        for column in range(end - start):
            at = start + column
            before = part[column]
            code = (before / scale[:, at] + zero[:, at]).round_().clamp_(on.least, on.most)
            error = (before - (code - zero[:, at]) * scale[:, at]).div_(root[column, column])
            part[column + 1 :].addr_(root[column, column + 1 :], error, alpha=-1)
            codes[:, at], errors[column] = code, error
        made[:, end:].addmm_(errors.T, upper[start:end, end:], alpha=-1)
    back = torch.empty_like(codes)
    back[:, order] = codes
    return back


@torch.no_grad()
def fitted_grid(weight: Tensor, gram: Tensor, bits: int, group: int | None, symmetric: bool) -> Grid:
    """The grid whose nearest codes lose least of a layer's outputs, group by group, among scales that reach the largest
    weights and some that fall short of them (Lin et al. 2024, section 3.2, the search for clipping)."""
    plain = grid(weight, bits, group, symmetric)
    size, groups = plain.group, plain.scales.shape[1]
    missing = groups * size - weight.shape[1]
    own = torch.nn.functional.pad(gram.float(), (0, missing, 0, missing))
    blocks = torch.stack([own[at : at + size, at : at + size] for at in range(0, groups * size, size)])
    best = torch.full_like(plain.scales, torch.inf)
    shrink = torch.ones_like(plain.scales)
    for each in SHRINKS:
        lost = weight.float() - grid(weight, bits, group, symmetric, each).rounded(weight)
        grouped = torch.nn.functional.pad(lost, (0, missing)).view(len(weight), groups, size).transpose(0, 1)
        losses = (torch.bmm(grouped, blocks) * grouped).sum(-1).T  # (O, G)
        better = losses < best
        best, shrink = torch.where(better, losses, best), shrink.masked_fill(better, each)
    return grid(weight, bits, group, symmetric, shrink)
