"""Rows of tokens as a model takes them: padded left or right, like lengths together, none longer than it reads."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from danlu.adapt import room
from danlu.errors import DanluError
from danlu.models.build import TextModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.nn.positions import RelativePositions

BUDGET = 8192  # tokens of a batch, padding included


def limit(model: TextModel) -> int | None:
    """The most tokens a row may have; None where positions have no end (T5's distances)."""
    tower = model.config.encoder if isinstance(model, SequenceToSequence) else model.config.transformer
    return None if isinstance(tower.positions, RelativePositions) else room(model)


def check_lengths(model: TextModel, lengths: Sequence[int]) -> None:
    """E1803 where a row is longer than the model reads."""
    length, longest = limit(model), max(lengths, default=0)
    if length is not None and longest > length:
        raise DanluError("E1803", found=longest, length=length)


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of like length together, longest first, rows x longest within the budget (one row at least)."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        count = max(1, budget // max(lengths[order[start]], 1))
        yield order[start : start + count]
        start += count


def padded_left(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """tokens (B, T) and valid (B, T), None where nothing is padded. Padding holds token 0, which nobody sees."""
    width = max(map(len, rows))
    tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    if min(map(len, rows)) == width:
        return tokens, None
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return tokens, torch.arange(width, device=device) >= width - lengths[:, None]


def padded_right(rows: Sequence[Sequence[int]], device: torch.device, fill: int = 0) -> tuple[Tensor, Tensor | None]:
    """tokens (B, T) and valid (B, T), None where nothing is padded."""
    width = max(map(len, rows))
    tokens = torch.tensor([list(row) + [fill] * (width - len(row)) for row in rows], device=device, dtype=torch.long)
    if min(map(len, rows)) == width:
        return tokens, None
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return tokens, torch.arange(width, device=device) < lengths[:, None]
