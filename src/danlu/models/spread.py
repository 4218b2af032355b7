"""Where the tokens of a row stand, and who of them sees whom, once some of them are the patches of pictures.

A run of placeholders is one picture, or a film: as many frames as the run holds. Nothing else knows about film.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Grid(NamedTuple):
    """How pictures stand in a row. token: the id of a placeholder; side: vectors along an edge of a picture.

    axes: positions are (time, row, column), of which text advances all three; otherwise every token is one further.
    both_ways: the vectors of a picture, or film, see each other, whichever comes first.
    """

    token: int
    side: int
    axes: bool
    both_ways: bool

    def spread(
        self, tokens: Tensor, valid: Tensor | None = None, documents: Tensor | None = None,
        branches: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """tokens and marks (B, T) -> positions (B, T), with axes (B, T, 3); steps (B, T), None where they are natural.

        Text behind a picture goes on behind its farthest corner; a branch goes on from the end of its document's stem,
        and a document begins at 0.
        """
        seen = tokens == self.token
        if branches is None and not (bool(seen.any()) and (self.axes or self.both_ways)):
            return _restarted(_one(tokens, valid), documents, None), None
        index = torch.arange(tokens.shape[1], device=tokens.device)
        first, last = seen & ~_before(seen), seen & ~_after(seen)
        within = index - torch.where(first, index, 0).cummax(1).values
        frame, place = within // self.side**2, within % self.side**2
        at = torch.stack([frame, place // self.side, place % self.side], -1)
        one = _one(tokens, valid)
        extent = torch.where(last, (frame + 1).clamp(min=self.side), 0)
        positions = _restarted(torch.where(seen, extent, one) if self.axes else one, documents, branches)
        if self.axes:
            positions = positions[..., None] + torch.where(seen[..., None], at, 0)
        steps = torch.where(seen, last.long(), one) if self.both_ways else one
        return positions, _restarted(steps, documents, branches)


def _restarted(advance: Tensor, documents: Tensor | None, branches: Tensor | None) -> Tensor:
    """How far tokens before each one have advanced, (B, T): within its document, along the stem and its own branch."""
    base = advance.cumsum(1) - advance
    if documents is None and branches is None:
        return base
    begins = torch.zeros_like(base, dtype=torch.bool)
    if documents is not None:
        begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    origin = torch.where(begins, base, 0).cummax(1).values
    if branches is None:
        return base - origin
    before = torch.zeros_like(branches)
    before[:, 1:] = branches[:, :-1]
    before = torch.where(begins, 0, before)
    parts = (branches > 0) & (branches != before)
    own = torch.where(parts, base, 0).cummax(1).values
    stem = torch.where(parts & (before == 0), base, 0).cummax(1).values
    return torch.where(branches > 0, base - own + stem, base) - origin


def _one(tokens: Tensor, valid: Tensor | None) -> Tensor:
    return torch.ones_like(tokens) if valid is None else valid.long()


def _before(marks: Tensor) -> Tensor:
    """Of each token the mark of the one before: false for the first."""
    return torch.cat([torch.zeros_like(marks[:, :1]), marks[:, :-1]], 1)


def _after(marks: Tensor) -> Tensor:
    return torch.cat([marks[:, 1:], torch.zeros_like(marks[:, :1])], 1)
