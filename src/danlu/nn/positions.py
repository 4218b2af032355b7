"""Three ways to tell a transformer where its tokens are: added, rotated, or as a bias on scores."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from danlu.settings import Settings

Rotation = tuple[Tensor, Tensor]


class LearnedPositions(Settings):
    """A table added to the embeddings (BERT, GPT-2, OPT, BART)."""

    kind: Literal["learned"] = "learned"
    length: int = Field(gt=0)
    offset: int = Field(0, ge=0)  # rows kept for padding by models from fairseq: 2 in RoBERTa, BART and OPT


class RotaryScaling(Settings):
    """How frequencies were slowed down for contexts longer than those first trained on.

    linear: all by `factor` (Chen et al. 2023). llama3: wavelengths beyond `original / low` by `factor`, those
    below `original / high` not at all, a ramp between (Llama 3.1).
    """

    kind: Literal["linear", "llama3"]
    factor: float = Field(gt=0)
    low: float = 1.0
    high: float = 4.0
    original: int = 8192  # context length of the first training


class RotaryPositions(Settings):
    """A rotation of queries and keys (Su et al. 2021): PaLM, Llama, Mistral, Qwen."""

    kind: Literal["rotary"] = "rotary"
    length: int = Field(2048, gt=0)  # the longest context it was made for
    base: float = Field(10_000.0, gt=0)
    pairs: Literal["halves", "neighbours"] = "halves"  # what turns together: k and k + K/2, or 2k and 2k + 1
    scaling: RotaryScaling | None = None


class RelativePositions(Settings):
    """A learned bias on scores by bucketed distance, shared by all layers (T5)."""

    kind: Literal["relative"] = "relative"
    length: int = Field(512, gt=0)  # the length it was trained at; longer ones work
    buckets: int = Field(32, gt=1)
    max_distance: int = Field(128, gt=1)


def rotation(positions: Tensor, config: RotaryPositions, head_size: int, dtype: torch.dtype) -> Rotation:
    """Cosine and sine of the angle of each position and frequency: (B, T) -> (B, 1, T, K/2) each.

    Positions on three axes, (B, T, 3), take the frequencies in turns, so that each axis has fast and slow ones; where
    all three are equal, as in text, this is the plain rotation (Wang et al. 2024, Qwen2-VL). Angles are always worked
    out in float32: a position of 100,000 has no place in sixteen bits.
    """
    exponent = torch.arange(0, head_size, 2, device=positions.device).float() / head_size
    frequency = _scaled(1.0 / config.base**exponent, config.scaling)
    if positions.ndim == 2:
        positions = positions[:, :, None]
    else:
        positions = positions[:, :, torch.arange(head_size // 2, device=positions.device) % positions.shape[2]]
    angle = positions[:, None].float() * frequency
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, by: Rotation, pairs: str) -> Tensor:
    """Turn each pair of a head's numbers by its angle: (B, H, T, K) -> (B, H, T, K)."""
    cosine, sine = by
    half = x.shape[-1] // 2
    axis, shape = (-2, (2, half)) if pairs == "halves" else (-1, (half, 2))
    left, right = x.reshape(*x.shape[:-1], *shape).unbind(axis)
    return torch.stack((left * cosine - right * sine, right * cosine + left * sine), axis).flatten(-2)


def _scaled(frequency: Tensor, scaling: RotaryScaling | None) -> Tensor:
    if scaling is None:
        return frequency
    slow = frequency / scaling.factor
    if scaling.kind == "linear":
        return slow
    turns = scaling.original * frequency / (2 * math.pi)  # full turns within the original context
    keep = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
    return keep * frequency + (1 - keep) * slow


class RelativeBias(nn.Module):
    """A score bias for each head and bucket of key-minus-query distance (Raffel et al. 2020, section 2.1)."""

    def __init__(self, config: RelativePositions, heads: int, both_ways: bool):
        super().__init__()
        self.config, self.both_ways = config, both_ways
        self.table = nn.Embedding(config.buckets, heads)

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """(B, T), (B, S) -> (B, H, T, S)."""
        distance = key_positions[:, None, :] - query_positions[:, :, None]
        bias: Tensor = self.table(self._bucket(distance))
        return bias.permute(0, 3, 1, 2)

    def _bucket(self, distance: Tensor) -> Tensor:
        buckets = self.config.buckets
        start = torch.zeros_like(distance)
        if self.both_ways:
            buckets //= 2
            start = (distance > 0) * buckets
            distance = distance.abs()
        else:
            distance = (-distance).clamp(min=0)
        exact = buckets // 2  # distances below it have a bucket each, those above share logarithmically wider ones
        growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.config.max_distance / exact)
        far = (exact + growth * (buckets - exact)).long().clamp(max=buckets - 1)
        return start + torch.where(distance < exact, distance, far)
