"""Tokens in, vectors out."""

from pydantic import Field
from torch import Tensor, nn

from danlu.nn.adapters import Prompts
from danlu.nn.dropout import Dropout
from danlu.nn.mlp import NormConfig
from danlu.nn.positions import LearnedPositions
from danlu.settings import Settings


class TokenEmbeddingConfig(Settings):
    vocabulary: int = Field(gt=0, le=2**28)
    width: int | None = Field(None, gt=0)  # of the table, where it is narrower than the model (OPT-350M)
    whole: bool = False  # positions, segments and norm are as narrow, and the sum is projected, not the token (ELECTRA)
    positions: LearnedPositions | None = None
    segments: int = Field(0, ge=0)
    languages: tuple[str, ...] = ()  # names, in the order of their numbers (XLM)
    norm: NormConfig | None = None
    scale: float = 1.0  # of the token vectors
    dropout: float = Field(0.0, ge=0, lt=1)


class TokenEmbedding(nn.Module):
    """Token plus position plus segment plus language, normalised where the family does so."""

    def __init__(self, width: int, config: TokenEmbeddingConfig):
        super().__init__()
        inner = config.width or width
        self.scale, self.whole = config.scale, config.whole
        self.tokens = nn.Embedding(config.vocabulary, inner)
        self.projection = nn.Linear(inner, width, bias=config.whole) if inner != width else None
        width = inner if config.whole else width
        learned = config.positions
        self.offset = learned.offset if learned else 0
        self.positions = nn.Embedding(learned.length + learned.offset, width) if learned else None
        self.segments = nn.Embedding(config.segments, width) if config.segments else None
        self.languages = nn.Embedding(len(config.languages), width) if config.languages else None
        self.norm = config.norm.build(width) if config.norm else None
        self.dropout = Dropout(config.dropout)
        self.prompts: Prompts | None = None

    def forward(
        self, tokens: Tensor, positions: Tensor, segments: Tensor | None = None, languages: Tensor | None = None,
        seen: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """tokens, segments and languages (B, T), positions (B or 1, T) -> (B, T, D). Where there are more
        positions than tokens, the first are those of a prompt. seen: places (B, T) of tokens in whose rows of the table
        others are put, and those rows (N, D), in order."""
        x: Tensor = self.tokens(tokens)
        if seen is not None:
            x = x.index_put((seen[0],), seen[1].to(x.dtype))
        if self.prompts is not None and positions.shape[1] > tokens.shape[1]:
            x = self.prompts(x)
        if self.scale != 1.0:
            x = x * self.scale
        if self.projection is not None and not self.whole:
            x = self.projection(x)
        if self.positions is not None:
            x = x + self.positions(positions + self.offset)
        if self.segments is not None:  # without segments, all tokens are of the first
            x = x + (self.segments.weight[0] if segments is None else self.segments(segments))
        if self.languages is not None and languages is not None:  # without them, text of no language in particular
            x = x + self.languages(languages)
        if self.norm is not None:
            x = self.norm(x)
        out: Tensor = self.dropout(x)
        return self.projection(out) if self.projection is not None and self.whole else out
