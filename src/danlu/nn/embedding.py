"""Tokens in, vectors out."""

from pydantic import Field
from torch import Tensor, nn

from danlu.nn.dropout import Dropout
from danlu.nn.mlp import NormConfig
from danlu.nn.positions import LearnedPositions
from danlu.settings import Settings


class TokenEmbeddingConfig(Settings):
    vocabulary: int = Field(gt=0, le=2**28)
    width: int | None = Field(None, gt=0)  # of the table, where it is narrower than the model (OPT-350M)
    positions: LearnedPositions | None = None
    segments: int = Field(0, ge=0)
    norm: NormConfig | None = None
    scale: float = 1.0  # of the token vectors
    dropout: float = Field(0.0, ge=0, lt=1)


class TokenEmbedding(nn.Module):
    """Token plus position plus segment, normalised where the family does so."""

    def __init__(self, width: int, config: TokenEmbeddingConfig):
        super().__init__()
        inner = config.width or width
        self.scale = config.scale
        self.tokens = nn.Embedding(config.vocabulary, inner)
        self.projection = nn.Linear(inner, width, bias=False) if inner != width else None
        learned = config.positions
        self.offset = learned.offset if learned else 0
        self.positions = nn.Embedding(learned.length + learned.offset, width) if learned else None
        self.segments = nn.Embedding(config.segments, width) if config.segments else None
        self.norm = config.norm.build(width) if config.norm else None
        self.dropout = Dropout(config.dropout)

    def forward(self, tokens: Tensor, positions: Tensor, segments: Tensor | None = None) -> Tensor:
        """tokens and segments (B, T), positions (B or 1, T) -> (B, T, D)."""
        x: Tensor = self.tokens(tokens)
        if self.scale != 1.0:
            x = x * self.scale
        if self.projection is not None:
            x = self.projection(x)
        if self.positions is not None:
            x = x + self.positions(positions + self.offset)
        if self.segments is not None:  # without segments, all tokens are of the first
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        if self.norm is not None:
            x = self.norm(x)
        out: Tensor = self.dropout(x)
        return out
