"""A stack of blocks. Encoder, decoder, or prefix model: the steps decide."""

from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from danlu.nn.attention import Attention, AttentionConfig
from danlu.nn.cache import Cache
from danlu.nn.dropout import Dropout
from danlu.nn.fused import Fused, fused
from danlu.nn.marks import Marks, Read, chosen
from danlu.nn.mlp import Mlp, MlpConfig, NormConfig
from danlu.nn.positions import RelativeBias, RelativePositions, RotaryPositions, rotation
from danlu.nn.precision import compute_dtype
from danlu.nn.visibility import ALL, Visibility, memory_view, own_view
from danlu.settings import Settings

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

    def window(self, layer: int) -> int | None:
        """How many steps a layer sees back; None: all."""
        return self.attention.windows[layer % len(self.attention.windows)]

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
        caches: Any = (None, None), read: Read = None, **attention: Any,
    ) -> Tensor:  # fmt: skip
        """read: the one token of each row whose output is wanted; then (B, 1, D)."""
        x = self._add(x, self.attention_norm, self.attention, read, cache=caches[0], **attention)
        if memory is not None:
            cross = {"memory": memory, "visible": memory_visible, "cache": caches[1]}
            x = self._add(x, self.cross_attention_norm, self.cross_attention, **cross)
        return self._add(x, self.mlp_norm, self.mlp)

    def _add(self, x: Tensor, norm: nn.Module, layer: nn.Module, read: Read = None, **inputs: Any) -> Tensor:
        """x + layer(norm(x)), or norm(x + layer(x)) where the norm comes after."""
        kept = x if read is None else chosen(x, read)
        inputs |= {} if read is None else {"read": read}
        if self.norm_after:
            after: Tensor = norm(kept + self.dropout(layer(x, **inputs)))
            return after
        before: Tensor = kept + self.dropout(layer(norm(x), **inputs))
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
        read: Read = None, **attention: Any,
    ) -> Tensor:  # fmt: skip
        normed = self.norm(x)
        seen = self.attention(normed, cache=caches[0], read=read, **attention)
        if read is not None:
            x, normed = chosen(x, read), chosen(normed, read)
        out: Tensor = x + self.dropout(seen + self.mlp(normed))
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
        self.fused: Fused | None = None
        if isinstance(config.positions, RelativePositions):
            self.relative_bias = RelativeBias(config.positions, config.attention.heads, both_ways=not config.causal)

    def forward(
        self, x: Tensor, marks: Marks, memory: Tensor | None = None, memory_valid: Tensor | None = None,
        memory_documents: Tensor | None = None, cache: Cache | None = None, read: Read = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, D), marks of its tokens; memory (B, S, D), its marks (B or 1, S). read: the one token of each row
        whose output is wanted, which saves most of the last block; then (B, 1, D)."""
        config = self.config
        keys = marks if cache is None else cache.extend(marks)
        views = self._views(x, marks, keys)
        memory_visible = memory_view(x, marks.documents, memory_valid, memory_documents)
        turn = None
        if isinstance(config.positions, RotaryPositions):
            turn = rotation(marks.positions, config.positions, config.head_size, compute_dtype(x))
        self.fused = fused(self, self.fused, x, list(views.values())) if memory is None else None
        if self.fused is not None:
            x = self.fused.run(x, next(iter(views.values())), turn, cache.attention if cache else None)
            x = x if read is None else chosen(x, read)
        for index, block in enumerate(self.blocks if self.fused is None else ()):
            caches = (cache.attention[index], cache.cross_attention[index]) if cache else (None, None)
            visible = views[config.window(index)]
            if read is not None and index == config.depth - 1:
                x = block(
                    x, memory, memory_visible.of(read), visible=visible.of(read), turn=turn, caches=caches, read=read
                )
                continue
            x = block(x, memory, memory_visible, visible=visible, turn=turn, caches=caches)
        if self.norm is not None:
            x = self.norm(x)
        out: Tensor = self.dropout(x)
        return out

    def _views(self, x: Tensor, queries: Marks, keys: Marks) -> dict[int | None, Visibility]:
        """What layers of each window see."""
        bias = self.relative_bias(queries.positions, keys.positions) if self.relative_bias else None
        windows = {self.config.window(index) for index in range(self.config.depth)}
        return {window: own_view(x, queries, keys, self.config.causal, window, bias) for window in windows}


def _pairs(config: TransformerConfig) -> str:
    return config.positions.pairs if isinstance(config.positions, RotaryPositions) else "halves"
