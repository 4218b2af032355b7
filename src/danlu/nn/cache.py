"""Keys and values remembered between decoding steps, in buffers that grow by doubling.

A cache is handed to a model and changed by it; nothing is kept inside layers. It is for inference: buffers are written
in place, so gradients do not flow through it.
"""

import torch
from torch import Tensor

SMALLEST = 64


class LayerCache:
    """Keys and values of one attention layer: (B, H, S, K) each."""

    def __init__(self, capacity: int = 0) -> None:
        self.capacity = capacity
        self.length = 0
        self.buffers: tuple[Tensor, Tensor] | None = None

    @property
    def filled(self) -> bool:
        return self.length > 0

    def read(self) -> tuple[Tensor, Tensor]:
        """Keys and values so far."""
        if self.buffers is None:
            raise ValueError("an empty cache was read")
        key, value = self.buffers
        return key[:, :, : self.length], value[:, :, : self.length]

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions and return all of them."""
        end = self.length + key.shape[2]
        if self.buffers is None or self.buffers[0].shape[2] < end:
            room = self.capacity if end <= self.capacity else max(SMALLEST, 2 * end)
            grown = tuple(old.new_empty(*old.shape[:2], room, old.shape[3]) for old in (key, value))
            if self.buffers is not None:
                for new, old in zip(grown, self.read(), strict=True):
                    new[:, :, : self.length] = old
            self.buffers = (grown[0], grown[1])
        for buffer, new in zip(self.buffers, (key, value), strict=True):
            buffer[:, :, self.length : end] = new
        self.length = end
        return self.read()

    def keep(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Remember what never grows: a memory's keys and values."""
        self.buffers, self.length = (key, value), key.shape[2]
        return key, value

    def reorder(self, index: Tensor) -> None:
        if self.buffers is not None:
            key, value = self.buffers
            self.buffers = (key.index_select(0, index), value.index_select(0, index))


class Cache:
    """What a decoder of `depth` layers remembers: keys, values, and what masks and positions are made from.

    `steps`, `valid` and `positions` are (B or 1, S); `steps` and `valid` stay None while tokens come in natural order
    and none is padding. `capacity`: positions to make room for at once, where the final length is known.
    """

    def __init__(self, depth: int, capacity: int = 0) -> None:
        self.length = 0
        self.steps: Tensor | None = None
        self.valid: Tensor | None = None
        self.positions: Tensor | None = None
        self.attention = [LayerCache(capacity) for _ in range(depth)]
        self.cross_attention = [LayerCache() for _ in range(depth)]

    def next_positions(self) -> Tensor | int:
        """The position after the last valid token: (B, 1), or one number for all rows."""
        return self.length if self.valid is None else self.valid.sum(1, keepdim=True)

    def extend(self, positions: Tensor, steps: Tensor | None, valid: Tensor | None) -> None:
        """Take note of T more tokens: (B or 1, T) each."""
        new = positions.shape[1]
        if steps is not None or self.steps is not None:
            self.steps = _joined(self._natural(self.steps, 0, self.length, positions),
                                 self._natural(steps, self.length, new, positions))  # fmt: skip
        if valid is not None or self.valid is not None:
            rows = max(part.shape[0] for part in (valid, self.valid) if part is not None)
            ones = torch.ones(rows, 1, dtype=torch.bool, device=positions.device)
            old_valid = ones.expand(-1, self.length) if self.valid is None else self.valid
            self.valid = _joined(old_valid, ones.expand(-1, new) if valid is None else valid)
        self.positions = positions if self.positions is None else _joined(self.positions, positions)
        self.length += new

    def reorder(self, index: Tensor) -> None:
        """Let row i go on from what row index[i] remembers (beam search); the number of rows may change."""
        for layer in (*self.attention, *self.cross_attention):
            layer.reorder(index)
        for name in ("steps", "valid", "positions"):
            mark = getattr(self, name)
            if mark is not None and mark.shape[0] > 1:
                setattr(self, name, mark.index_select(0, index))

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` positions."""
        self.length = min(length, self.length)
        for layer in self.attention:
            layer.length = min(length, layer.length)
        for name in ("steps", "valid", "positions"):
            mark = getattr(self, name)
            setattr(self, name, None if mark is None else mark[:, :length])

    @staticmethod
    def _natural(steps: Tensor | None, start: int, count: int, like: Tensor) -> Tensor:
        return torch.arange(start, start + count, device=like.device)[None] if steps is None else steps


def _joined(old: Tensor, new: Tensor) -> Tensor:
    rows = max(old.shape[0], new.shape[0])
    return torch.cat([old.expand(rows, -1), new.expand(rows, -1)], dim=1)
