"""Places in a model where learned vectors come in before the text: keys and values in every layer (prefix), or tokens
that no vocabulary has (prompt).

Shapes: B rows, G key heads, P virtual tokens, T and S tokens, K head size, D width.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.nn.visibility import Visibility


class Adapters(nn.Module):
    """Adapters by name, of which one, or none, is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict()
        self.active: str | None = None

    @property
    def at_work(self) -> nn.Module | None:
        return self.adapters[self.active] if self.active is not None and self.active in self.adapters else None

    def extra_repr(self) -> str:
        return f"active={self.active}"


class Prefix(nn.Module):
    """Keys and values that every query sees, before those of the text (Li and Liang 2021, eq. 2): (G, P, K) each."""

    def __init__(self, heads: int, count: int, head_size: int, **place: Any):
        super().__init__()
        self.key = nn.Parameter(torch.empty(heads, count, head_size, **place))
        self.value = nn.Parameter(torch.empty(heads, count, head_size, **place))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        for parameter in (self.key, self.value):
            parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))


class Prefixes(Adapters):
    """Where prefixes come into an attention layer."""

    @property
    def count(self) -> int:
        prefix = self.at_work
        return prefix.key.shape[1] if isinstance(prefix, Prefix) else 0

    def forward(self, key: Tensor, value: Tensor, visible: Visibility) -> tuple[Tensor, Tensor, Visibility]:
        """key and value (B, G, S, K), and who is seen -> the same with P more in front, seen by all."""
        prefix = self.at_work
        if not isinstance(prefix, Prefix):
            return key, value, visible
        pairs = ((prefix.key, key), (prefix.value, value))
        key, value = (torch.cat([own.to(text).expand(len(text), -1, -1, -1), text], 2) for own, text in pairs)
        return key, value, _widened(visible, key, self.count)


class Prompt(nn.Module):
    """Vectors of P virtual tokens (P, D) before the text (Lester et al. 2021)."""

    def __init__(self, count: int, width: int, **place: Any):
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(count, width, **place))

    @torch.no_grad()
    def draw(self, generator: torch.Generator, table: Tensor) -> None:
        """Begin as tokens of the vocabulary, drawn from its table (V, D)."""
        drawn = torch.randint(len(table), (len(self.vectors),), generator=generator)
        self.vectors.copy_(table[drawn.to(table.device)])


class Prompts(Adapters):
    """Where prompts come into an embedding."""

    @property
    def count(self) -> int:
        prompt = self.at_work
        return len(prompt.vectors) if isinstance(prompt, Prompt) else 0

    def forward(self, x: Tensor) -> Tensor:
        """Token vectors (B, T, D) -> (B, P + T, D)."""
        prompt = self.at_work
        if not isinstance(prompt, Prompt):
            return x
        return torch.cat([prompt.vectors.to(x).expand(len(x), -1, -1), x], 1)


def _widened(visible: Visibility, key: Tensor, count: int) -> Visibility:
    """`count` columns that hide nothing before the others; key: (B, G, count + S, K)."""
    scores = visible.scores
    if visible.causal:
        length = key.shape[2] - count
        scores = key.new_full((length, length), torch.finfo(key.dtype).min).triu_(1)[None, None]
    return visible if scores is None else replace(visible, scores=F.pad(scores, (count, 0)), causal=False)
