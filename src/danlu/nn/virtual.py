"""Vectors that stand beside a vocabulary's for a while: ids from its end on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def virtual(table: nn.Embedding, vectors: Tensor) -> Iterator[None]:
    """Inside, the table (V, D) knows P more ids, V to V + P - 1, whose vectors are these (P, D); gradients reach them.

    Two of these on one table do not nest.
    """
    own, asked = table.num_embeddings, list[Tensor]()

    def known(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor]:
        asked[:] = inputs
        return (torch.where(inputs[0] < own, inputs[0], 0),)

    def put(module: nn.Module, inputs: tuple[Any, ...], found: Tensor) -> Tensor:
        strange = (asked[0] >= own)[..., None]
        return torch.where(strange, vectors.to(found)[(asked[0] - own).clamp(min=0)], found)

    handles = [table.register_forward_pre_hook(known), table.register_forward_hook(put)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
