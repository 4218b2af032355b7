"""The layer that does the looking; who may look at whom is said in `visibility`.

Shapes: B batch, T queries, S keys, H heads, K head size, D width.
"""

from collections.abc import Callable

from pydantic import Field
from torch import Tensor, nn

from danlu.nn.adapters import Prefixes
from danlu.nn.attend import attend
from danlu.nn.cache import LayerCache
from danlu.nn.marks import Read, chosen
from danlu.nn.mlp import NormConfig
from danlu.nn.positions import Rotation, rotate
from danlu.nn.precision import compute
from danlu.nn.visibility import Visibility
from danlu.settings import Settings

Shown = Callable[[Tensor, Tensor, Tensor, Visibility], None]


class AttentionConfig(Settings):
    """One attention layer; every field has the meaning of the original Transformer by default."""

    heads: int = Field(gt=0, le=2**16)
    kv_heads: int | None = Field(None, gt=0)  # None: one per query head; 1: multi-query; between: grouped
    head_size: int | None = Field(None, gt=0, le=2**16)  # None: width // heads
    input_bias: bool = True  # on query, key and value
    output_bias: bool = True
    scale: float | None = None  # None: head_size ** -0.5; T5 uses 1
    head_norm: NormConfig | None = None  # on each query and key head (Qwen3)
    windows: tuple[int | None, ...] = (None,)  # cycled over layers; GPT-3 alternates (None, 256)
    dropout: float = Field(0.0, ge=0, lt=1)  # on the attention weights


class Attention(nn.Module):
    """Multi-head, grouped or multi-query attention over its own input or over a memory (Vaswani et al. 2017)."""

    def __init__(self, width: int, config: AttentionConfig, pairs: str = "halves"):
        super().__init__()
        self.heads = config.heads
        self.kv_heads = config.kv_heads or config.heads
        self.head_size = config.head_size or width // config.heads
        self.scale, self.dropout, self.pairs = config.scale, config.dropout, pairs
        inner, kv_inner = self.heads * self.head_size, self.kv_heads * self.head_size
        self.query = nn.Linear(width, inner, config.input_bias)
        self.key = nn.Linear(width, kv_inner, config.input_bias)
        self.value = nn.Linear(width, kv_inner, config.input_bias)
        self.output = nn.Linear(inner, width, config.output_bias)
        self.query_norm = config.head_norm.build(self.head_size) if config.head_norm else None
        self.key_norm = config.head_norm.build(self.head_size) if config.head_norm else None
        self.prefixes: Prefixes | None = None
        self.shown: Shown | None = None  # is told queries, keys, values and who sees whom, while somebody wants to know

    def forward(
        self, x: Tensor, memory: Tensor | None = None, *, visible: Visibility, turn: Rotation | None = None,
        cache: LayerCache | None = None, read: Read = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, D), memory (B, S, D) -> (B, T, D); read: of one token of each row alone, (B, 1, D), of which
        `visible` speaks then."""
        x = compute(x)
        asked, asked_turn = x, turn
        if read is not None:
            asked, asked_turn = chosen(x, read), turn and (chosen(turn[0], read), chosen(turn[1], read))
        query = self._heads(self.query(asked), self.heads, self.query_norm, asked_turn)
        if memory is not None and cache is not None and cache.filled:
            key, value = cache.read()  # the memory never changes: project it once
        else:
            source = x if memory is None else compute(memory)
            key = self._heads(self.key(source), self.kv_heads, self.key_norm, turn)
            value = self._heads(self.value(source), self.kv_heads)
            if cache is not None:
                key, value = cache.extend(key, value) if memory is None else cache.keep(key, value)
        if self.prefixes is not None:
            key, value, visible = self.prefixes(key, value, visible)
        if self.shown is not None:
            self.shown(query, key, value, visible)
        drop = self.dropout if self.training else 0.0
        seen = attend(query, key, value, visible.scores, visible.causal, self.scale, drop)
        out: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor, heads: int, norm: nn.Module | None = None, turn: Rotation | None = None) -> Tensor:
        """(B, T, H * K) -> (B, H, T, K), normalised and turned."""
        split = x.reshape(*x.shape[:-1], heads, self.head_size)
        if norm is not None:
            split = norm(split)
        split = split.transpose(1, 2)
        return split if turn is None else rotate(split, turn, self.pairs)
