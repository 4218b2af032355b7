"""A stack of blocks. Encoder, decoder, or prefix model: the steps decide."""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from danlu.nn.attention import Attention, AttentionConfig, Visibility, attention_mask
from danlu.nn.cache import Cache
from danlu.nn.dropout import Dropout
from danlu.nn.mlp import Mlp, MlpConfig, NormConfig
from danlu.nn.positions import RelativeBias, RelativePositions, RotaryPositions, rotation
from danlu.nn.precision import compute_dtype
from danlu.settings import Settings

Layer = Callable[[Tensor], Tensor]
ALL = Visibility()
MAX_WIDTH, MAX_DEPTH = 2**20, 10_000  # beyond these a config is damaged, not large


class TransformerConfig(Settings):
    width: int = Field(gt=0, le=MAX_WIDTH)
    depth: int = Field(gt=0, le=MAX_DEPTH)
    attention: AttentionConfig
    mlp: MlpConfig
    norm: NormConfig = NormConfig()
    norm_after: bool = False  # True: normalise after each residual sum (BERT, BART)
    parallel: bool = False  # attention and feed-forward side by side (PaLM)
    cross_attention: bool = False  # a decoder that also reads an encoder's output
    causal: bool = False
    final_norm: bool = True
    positions: Annotated[RotaryPositions | RelativePositions, Field(discriminator="kind")] | None = None
    dropout: float = Field(0.0, ge=0, lt=1)  # on what each layer adds
    final_dropout: float = Field(0.0, ge=0, lt=1)  # on the output (T5)

    @property
    def head_size(self) -> int:
        return self.attention.head_size or self.width // self.attention.heads

    @model_validator(mode="after")
    def _fits(self) -> "TransformerConfig":
        heads, kv_heads = self.attention.heads, self.attention.kv_heads or self.attention.heads
        if self.attention.head_size is None and self.width % heads:
            raise ValueError(f"width {self.width} is no multiple of heads {heads}")
        if heads % kv_heads:
            raise ValueError(f"heads {heads} is no multiple of kv_heads {kv_heads}")
        if isinstance(self.positions, RotaryPositions) and self.head_size % 2:
            raise ValueError(f"rotary positions turn pairs, but head_size {self.head_size} is odd")
        if self.parallel and (self.norm_after or self.cross_attention):
            raise ValueError("parallel blocks have one norm, before, and no cross_attention")
        return self


class Block(nn.Module):
    """Attention, then (in a decoder with a memory) cross-attention, then feed-forward; each added to its input."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.norm_after = config.norm_after
        self.attention = Attention(config.width, config.attention, _pairs(config))
        self.attention_norm = config.norm.build(config.width)
        if config.cross_attention:
            self.cross_attention = Attention(config.width, config.attention)
            self.cross_attention_norm = config.norm.build(config.width)
        self.mlp = Mlp(config.width, config.mlp)
        self.mlp_norm = config.norm.build(config.width)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, memory: Tensor | None = None, memory_visible: Visibility = ALL,
        caches: Any = (None, None), **attention: Any,
    ) -> Tensor:  # fmt: skip
        x = self._add(x, lambda y: self.attention(y, cache=caches[0], **attention), self.attention_norm)
        if memory is not None:
            cross = lambda y: self.cross_attention(y, memory, visible=memory_visible, cache=caches[1])  # noqa: E731
            x = self._add(x, cross, self.cross_attention_norm)
        return self._add(x, self.mlp, self.mlp_norm)

    def _add(self, x: Tensor, layer: Layer, norm: nn.Module) -> Tensor:
        """x + layer(norm(x)), or norm(x + layer(x)) where the norm comes after."""
        if self.norm_after:
            after: Tensor = norm(x + self.dropout(layer(x)))
            return after
        before: Tensor = x + self.dropout(layer(norm(x)))
        return before


class ParallelBlock(nn.Module):
    """Attention and feed-forward read the same normalised input and are summed (PaLM, section 2)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.norm = config.norm.build(config.width)
        self.attention = Attention(config.width, config.attention, _pairs(config))
        self.mlp = Mlp(config.width, config.mlp)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, memory: None = None, memory_visible: Visibility = ALL, caches: Any = (None, None),
        **attention: Any,
    ) -> Tensor:  # fmt: skip
        normed = self.norm(x)
        out: Tensor = x + self.dropout(self.attention(normed, cache=caches[0], **attention) + self.mlp(normed))
        return out


class Transformer(nn.Module):
    """(B, T, D) -> (B, T, D)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        block = ParallelBlock if config.parallel else Block
        self.blocks = nn.ModuleList(block(config) for _ in range(config.depth))
        self.norm = config.norm.build(config.width) if config.final_norm else None
        self.dropout = Dropout(config.final_dropout)
        self.relative_bias: RelativeBias | None = None
        if isinstance(config.positions, RelativePositions):
            self.relative_bias = RelativeBias(config.positions, config.attention.heads, both_ways=not config.causal)

    def forward(
        self, x: Tensor, positions: Tensor, steps: Tensor | None = None, valid: Tensor | None = None,
        documents: Tensor | None = None, memory: Tensor | None = None, memory_valid: Tensor | None = None,
        memory_documents: Tensor | None = None, cache: Cache | None = None, recompute: bool = False,
    ) -> Tensor:  # fmt: skip
        """x (B, T, D); positions, steps, valid, documents (B or 1, T); memory (B, S, D), its marks (B or 1, S).

        Where steps, valid or documents are None, tokens come in natural order, none is padding, and all are of one
        document: the fast kernels then need no mask. recompute: keep only each block's input for the backward pass.
        """
        config = self.config
        if cache is not None:
            if documents is not None:
                raise ValueError("packed documents are for training; a cache holds one document a row")
            cache.extend(positions, steps, valid)
        views = {window: self._view(x, positions, steps, valid, documents, window, cache) for window in self._windows}
        memory_view = _memory_view(x, memory_valid, documents, memory_documents)
        turn = None
        if isinstance(config.positions, RotaryPositions):
            turn = rotation(positions, config.positions, config.head_size, compute_dtype(x))
        for index, block in enumerate(self.blocks):
            caches = (cache.attention[index], cache.cross_attention[index]) if cache else (None, None)
            visible = views[config.attention.windows[index % len(config.attention.windows)]]
            inputs: dict[str, Any] = {"visible": visible, "turn": turn, "caches": caches}
            if recompute and self.training:
                x = checkpoint(block, x, memory, memory_view, use_reentrant=False, **inputs)
            else:
                x = block(x, memory, memory_view, **inputs)
        if self.norm is not None:
            x = self.norm(x)
        out: Tensor = self.dropout(x)
        return out

    @property
    def _windows(self) -> list[int | None]:
        """The distinct windows of the layers there are."""
        return list(dict.fromkeys(self.config.attention.windows[: self.config.depth]))

    def _view(
        self, x: Tensor, positions: Tensor, steps: Tensor | None, valid: Tensor | None, documents: Tensor | None,
        window: int | None, cache: Cache | None,
    ) -> Visibility:  # fmt: skip
        """Who sees whom in layers of this window: by the kernel's own causality where that is all there is to say."""
        count = x.shape[1]
        total, key_positions = count, positions
        key_steps, key_valid = steps, valid
        if cache is not None and cache.positions is not None:
            total, key_positions = cache.length, cache.positions
            key_steps, key_valid = cache.steps, cache.valid
        bias = self.relative_bias(positions, key_positions) if self.relative_bias else None
        plain = key_steps is None and key_valid is None and documents is None and (window is None or window >= total)
        if plain and (not self.config.causal or count == 1):
            return Visibility.of(x, None, bias)
        if plain and bias is None and count == total:
            return Visibility(causal=True)
        if key_steps is None:
            order = torch.arange(total, device=x.device)[None]
            key_steps = order if self.config.causal else torch.zeros_like(order)
        query_steps = key_steps[:, total - count :]
        mask = attention_mask(query_steps, key_steps, key_valid, window, documents, documents)
        return Visibility.of(x, mask, bias)


def _memory_view(
    x: Tensor, memory_valid: Tensor | None, documents: Tensor | None, memory_documents: Tensor | None
) -> Visibility:
    """A memory is seen whole, but for its padding and other documents' parts."""
    if memory_valid is None and (documents is None or memory_documents is None):
        return ALL
    marks = next(mark for mark in (memory_valid, memory_documents) if mark is not None)
    now, then = torch.zeros(1, x.shape[1], device=x.device), torch.zeros(1, marks.shape[1], device=x.device)
    return Visibility.of(x, attention_mask(now, then, memory_valid, None, documents, memory_documents))


def _pairs(config: TransformerConfig) -> str:
    return config.positions.pairs if isinstance(config.positions, RotaryPositions) else "halves"
