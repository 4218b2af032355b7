"""What goes on inside a model while it reads: the stream after each block, and what each attention compares.

Shapes: B rows, T queries, S keys, H heads, K head size, D width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.attention import Attention
from danlu.nn.transformer import Transformer
from danlu.nn.visibility import Visibility


@dataclass(frozen=True)
class Compared:
    """Of one attention: queries (B, H, T, K), keys and values (B, G, S, K), and who sees whom."""

    query: Tensor
    key: Tensor
    value: Tensor
    visible: Visibility
    scale: float

    def weights(self) -> Tensor:
        """The logarithms of the attention weights: (B, H, T, S)."""
        keys = self.key.repeat_interleave(self.query.shape[1] // self.key.shape[1], 1)
        return self._hidden(self.query.float() @ keys.float().mT * self.scale).log_softmax(-1)

    def relations(self, heads: int) -> list[Tensor]:
        """How queries resemble queries, keys keys, and values values, in heads of their own: logarithms of
        (B, R, T, T) each (Wang et al. 2021, MiniLMv2, eq. 3)."""
        found = []
        whole = self.query.shape[2] == self.key.shape[2]  # where one token alone asks, its question resembles nothing
        for part in (self.query, self.key, self.value) if whole else (self.key, self.value):
            flat = part.transpose(1, 2).flatten(2)
            split = flat.unflatten(-1, (heads, -1)).transpose(1, 2).float()  # type: ignore[no-untyped-call]
            scores = split @ split.mT / split.shape[-1] ** 0.5
            found.append(self._hidden(scores, heads_alike=True).log_softmax(-1))
        return found

    def _hidden(self, scores: Tensor, heads_alike: bool = False) -> Tensor:
        mask = self.visible.scores
        if self.visible.causal:
            lowest = torch.finfo(scores.dtype).min
            return scores + scores.new_full(scores.shape[-2:], lowest).triu_(1)
        if mask is None:
            return scores
        mask = mask.float()
        return scores + (mask.amax(1, keepdim=True) if heads_alike and mask.shape[1] > 1 else mask)


@dataclass
class Seen:
    """By stack, in the order of the model: the stream after each block, (B, T, D); what each block compared."""

    streams: list[list[Tensor]] = field(default_factory=list)
    compared: list[list[Compared]] = field(default_factory=list)


@contextmanager
def tapped(model: nn.Module, streams: bool, attention: bool) -> Iterator[Seen]:
    """While entered, one forward pass is written down."""
    seen, hooks, watched = Seen(), [], []
    for stack in (module for module in model.modules() if isinstance(module, Transformer)):
        seen.streams.append([])
        seen.compared.append([])
        for block in stack.blocks:
            if streams:
                hooks.append(block.register_forward_hook(_keeping(seen.streams[-1])))
            layer = block.attention
            if attention and isinstance(layer, Attention):
                layer.shown = _comparing(seen.compared[-1], layer)
                watched.append(layer)
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
        for layer in watched:
            layer.shown = None


def _keeping(kept: list[Tensor]) -> Callable[..., None]:
    def keep(block: nn.Module, given: Any, out: Tensor) -> None:
        kept.append(out)

    return keep


def _comparing(kept: list[Compared], layer: Attention) -> Callable[[Tensor, Tensor, Tensor, Visibility], None]:
    scale = layer.head_size**-0.5 if layer.scale is None else layer.scale

    def compare(query: Tensor, key: Tensor, value: Tensor, visible: Visibility) -> None:
        kept.append(Compared(query, key, value, visible, scale))

    return compare
