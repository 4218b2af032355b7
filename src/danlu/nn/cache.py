"""Keys and values remembered between decoding steps, in buffers that grow by doubling.

A cache is handed to a model and changed by it; nothing is kept inside layers. It is for inference: buffers are written
in place, so gradients do not flow through it.
"""

from collections.abc import Sequence

from torch import Tensor

from danlu.nn.marks import Marks

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
        start = self.length
        for buffer, new in zip(self.reserve(key.shape, key), (key, value), strict=True):
            buffer[:, :, start : self.length] = new
        return self.read()

    def reserve(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
        """The buffers, (B, H, room, K) each, with room for keys of this shape (B, H, S, K) that the caller fills in."""
        batch, heads, count, size = shape
        end = self.length + count
        if self.buffers is None or self.buffers[0].shape[2] < end:
            room = self.capacity if end <= self.capacity else max(SMALLEST, 2 * end)
            grown = (like.new_empty(batch, heads, room, size), like.new_empty(batch, heads, room, size))
            if self.buffers is not None:
                for new, old in zip(grown, self.read(), strict=True):
                    new[:, :, : self.length] = old
            self.buffers = grown
        self.length = end
        return self.buffers

    def keep(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Remember what never grows: a memory's keys and values."""
        self.buffers, self.length = (key, value), key.shape[2]
        return key, value

    def reorder(self, index: Tensor) -> None:
        if self.buffers is not None:
            key, value = self.buffers
            self.buffers = (key.index_select(0, index), value.index_select(0, index))


class Cache:
    """What a decoder of `depth` layers remembers: keys and values, and the marks of the tokens they are of.

    `capacity`: positions to make room for at once, where the final length is known.
    """

    def __init__(self, depth: int, capacity: int = 0) -> None:
        self.marks: Marks | None = None
        self.attention = [LayerCache(capacity) for _ in range(depth)]
        self.cross_attention = [LayerCache() for _ in range(depth)]

    @property
    def length(self) -> int:
        return 0 if self.marks is None else self.marks.count

    def next_positions(self) -> Tensor | int:
        """The position after the last valid token: (B, 1), or one number for all rows."""
        if self.marks is None or self.marks.valid is None:
            return self.length
        return self.marks.valid.sum(1, keepdim=True)

    def extend(self, marks: Marks) -> Marks:
        """Take note of more tokens; returns the marks of all."""
        if marks.documents is not None or marks.branches is not None:
            raise ValueError("packed documents and branches are for training; a cache holds one text a row")
        self.marks = marks if self.marks is None else self.marks.then(marks)
        return self.marks

    def reorder(self, index: Tensor) -> None:
        """Let row i go on from what row index[i] remembers (beam search); the number of rows may change."""
        for layer in (*self.attention, *self.cross_attention):
            layer.reorder(index)
        if self.marks is not None:
            self.marks = self.marks.each(lambda mark: mark if mark.shape[0] == 1 else mark.index_select(0, index))

    def fork(self, index: Tensor) -> "Cache":
        """Another cache, whose row i remembers what row index[i] of this one does; this one stays as it is."""
        twin = Cache(len(self.attention))
        for mine, own in zip(
            (*self.attention, *self.cross_attention), (*twin.attention, *twin.cross_attention), strict=True
        ):
            if mine.filled:
                key, value = mine.read()
                own.keep(key.index_select(0, index), value.index_select(0, index))
        if self.marks is not None:
            twin.marks = self.marks.each(lambda mark: mark if mark.shape[0] == 1 else mark.index_select(0, index))
        return twin

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` positions."""
        for layer in self.attention:
            layer.length = min(length, layer.length)
        if self.marks is not None:
            self.marks = self.marks.each(lambda mark: mark[:, :length])
