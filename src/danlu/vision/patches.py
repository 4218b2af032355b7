"""Pictures as rows of patches (Dosovitskiy et al. 2020)."""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear

from danlu.nn.mlp import NormConfig
from danlu.nn.precision import compute
from danlu.settings import Settings

SLOWEST, AMPLITUDE = 100, 0.5  # of fresh positions


class PatchConfig(Settings):
    """Square pictures of `size` pixels, cut into squares of `patch`."""

    kind: Literal["patches"] = "patches"
    size: int = Field(224, gt=0, le=2**14)
    patch: int = Field(32, gt=0, le=2**12)
    channels: int = Field(3, gt=0, le=64)
    summary: bool = True  # a learned vector in front, whose state stands for the picture (CLIP's class token)
    bias: bool = False
    norm: NormConfig | None = None  # after the positions (CLIP)

    @property
    def side(self) -> int:
        """Patches along one edge."""
        return self.size // self.patch

    @property
    def length(self) -> int:
        """Vectors a picture becomes."""
        return self.side**2 + self.summary

    @model_validator(mode="after")
    def _fits(self) -> "PatchConfig":
        if self.patch > self.size:
            raise ValueError(f"patches of {self.patch} do not fit a picture of {self.size}")
        return self


class GridPositions(nn.Embedding):
    """A learned vector for each place of a grid. Fresh ones tell rows from columns and near from far, as sines and
    cosines do (Beyer et al. 2022): drawn at random, a small model needs thousands of steps before it looks at them."""

    def __init__(self, config: PatchConfig, width: int):
        super().__init__(config.length, width)
        self.side, self.summary = config.side, config.summary

    def begin(self) -> Tensor:
        """(T, D); nothing for the summary."""
        waves = (self.embedding_dim + 3) // 4
        speeds = math.pi / 2 * SLOWEST ** -(torch.arange(waves) / waves)
        down, across = torch.meshgrid(*[torch.arange(self.side).float()] * 2, indexing="ij")
        angles = [each.flatten()[:, None] * speeds for each in (across, down)]
        table = torch.cat([wave(each) for each in angles for wave in (torch.sin, torch.cos)], 1)
        table = AMPLITUDE * table[:, : self.embedding_dim]
        return torch.cat([table.new_zeros(int(self.summary), self.embedding_dim), table])


class PatchEmbedding(nn.Module):
    """images (B, C, height, width) -> (B, T, D): patches row by row, the summary first, positions added."""

    def __init__(self, width: int, config: PatchConfig):
        super().__init__()
        self.config = config
        self.patches = nn.Conv2d(config.channels, width, config.patch, config.patch, bias=config.bias)
        self.summary = nn.Parameter(torch.empty(width)) if config.summary else None
        self.positions = GridPositions(config, width)
        self.norm = config.norm.build(width) if config.norm else None

    def forward(self, images: Tensor) -> Tensor:
        """Pictures of another size get the positions stretched to their grid."""
        batch, _, height, width = images.shape
        rows, columns = height // self.config.patch, width // self.config.patch
        x = self._cut(images, rows, columns)
        if self.summary is not None:
            x = torch.cat([self.summary.to(x.dtype).expand(batch, 1, -1), x], dim=1)
        x = x + self._places(rows, columns)
        return x if self.norm is None else self.norm(x)

    def _cut(self, images: Tensor, rows: int, columns: int) -> Tensor:
        """A convolution whose stride is its size is one matrix product: several times as fast on a CPU."""
        batch, channels, edge = len(images), images.shape[1], self.config.patch
        grid = compute(images)[:, :, : rows * edge, : columns * edge].view(batch, channels, rows, edge, columns, edge)
        flat = grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * edge * edge)
        return linear(flat, self.patches.weight.flatten(1), self.patches.bias)

    def _places(self, rows: int, columns: int) -> Tensor:
        """Positions (T, D) of a grid; stretched by bicubic interpolation where it is not the one that was learned."""
        table, side = self.positions.weight, self.config.side
        if rows == columns == side:
            return table
        own = table[int(self.config.summary) :].T.reshape(1, -1, side, side)
        stretched = interpolate(own.float(), (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat([table[: int(self.config.summary)], stretched[0].flatten(1).T.to(table.dtype)])
