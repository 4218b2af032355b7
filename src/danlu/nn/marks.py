"""What is known of each token of a row beside what it says: where it stands, and who it belongs with."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from danlu.errors import DanluError


@dataclass(frozen=True)
class Marks:
    """Each (B or 1, T). Where steps, valid, documents or branches are None, tokens come in natural order, none is
    padding, all are of one document, and none branches off: the fast kernels then need no mask.

    positions may have three axes, (B or 1, T, 3): time, row, column. branches: 0 for the stem of a document, which all
    of it sees; tokens of different branches do not see each other.
    """

    positions: Tensor
    steps: Tensor | None = None
    valid: Tensor | None = None
    documents: Tensor | None = None
    branches: Tensor | None = None

    @property
    def count(self) -> int:
        return self.positions.shape[1]

    @property
    def plain(self) -> bool:
        return all(mark is None for mark in (self.steps, self.valid, self.documents, self.branches))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Marks":
        """The same change made to every mark there is."""
        optional = (self.steps, self.valid, self.documents, self.branches)
        return Marks(change(self.positions), *(None if mark is None else change(mark) for mark in optional))

    def then(self, more: "Marks") -> "Marks":
        """These tokens followed by more of the same rows and the same document."""
        return Marks(
            _joined(self.positions, more.positions),
            None if self.steps is more.steps is None else _joined(self._steps(0), more._steps(self.count)),
            None if self.valid is more.valid is None else _joined(self._valid(), more._valid()),
        )

    def after(self, count: int) -> "Marks":
        """These tokens behind `count` virtual ones of the same text, which all of them see. E2010 where a row holds
        several documents: they cannot share what comes before the first."""
        if self.documents is not None:
            raise DanluError("E2010")
        first = torch.arange(count, device=self.positions.device).view(1, -1, *[1] * (self.positions.ndim - 2))
        first = first.expand(len(self.positions), count, *self.positions.shape[2:])
        return Marks(
            torch.cat([first, self.positions + count], 1),
            None if self.steps is None else torch.cat([self.steps[:, :1].expand(-1, count), self.steps], 1),
            None if self.valid is None else F.pad(self.valid, (count, 0), value=True),
            None,
            None if self.branches is None else F.pad(self.branches, (count, 0)),
        )

    def _steps(self, start: int) -> Tensor:
        natural = torch.arange(start, start + self.count, device=self.positions.device)
        return natural[None] if self.steps is None else self.steps

    def _valid(self) -> Tensor:
        if self.valid is not None:
            return self.valid
        return torch.ones(self.positions.shape[:2], dtype=torch.bool, device=self.positions.device)


def _joined(old: Tensor, new: Tensor) -> Tensor:
    rows = max(old.shape[0], new.shape[0])
    return torch.cat([old.expand(rows, *old.shape[1:]), new.expand(rows, *new.shape[1:])], dim=1)


Read = Tensor | int | None  # the one token of each row whose output is wanted: its place (B,), or the same for all


def chosen(x: Tensor, read: Tensor | int) -> Tensor:
    """One token of each row: (B or 1, ..., T, C) -> (B or 1, ..., 1, C)."""
    if isinstance(read, int):
        return x[..., read : read + 1 or None, :]
    shape = (len(read), *x.shape[1:-2], x.shape[-2], x.shape[-1])
    place = read.view(-1, *(1 for _ in shape[1:])).expand(*shape[:-2], 1, shape[-1])
    return x.expand(shape).gather(-2, place)
