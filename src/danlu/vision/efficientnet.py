"""EfficientNet (Tan and Le 2019), the image tower of ALIGN."""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.nn.mlp import ACTIVATIONS, ActivationName
from danlu.nn.norms import BatchNorm
from danlu.settings import Settings


class Stage(Settings):
    """Blocks of one width; only the first changes the number of channels and takes strides."""

    inputs: int = Field(gt=0, le=2**16)
    channels: int = Field(gt=0, le=2**16)
    repeats: int = Field(gt=0, le=1000)
    kernel: int = Field(gt=0, le=63)
    stride: int = Field(gt=0, le=8)
    expansion: int = Field(gt=0, le=64)


def _stage(inputs: int, channels: int, repeats: int, kernel: int, stride: int, expansion: int) -> Stage:
    return Stage(
        inputs=inputs, channels=channels, repeats=repeats, kernel=kernel, stride=stride, expansion=expansion
    )  # fmt: skip


# EfficientNet-B0, table 1 of the paper; larger members scale width and depth.
STAGES = (
    _stage(32, 16, 1, 3, 1, 1), _stage(16, 24, 2, 3, 2, 6), _stage(24, 40, 2, 5, 2, 6), _stage(40, 80, 3, 3, 2, 6),
    _stage(80, 112, 3, 5, 1, 6), _stage(112, 192, 4, 5, 2, 6), _stage(192, 320, 1, 3, 1, 6),
)  # fmt: skip


STEM = 32  # channels of the first convolution, before they are scaled


class EfficientNetConfig(Settings):
    """momentum: how much of a batch's mean and variance enters the running ones."""

    kind: Literal["efficientnet"] = "efficientnet"
    size: int = Field(289, gt=0, le=2**14)  # pixels along an edge that it was made for; others work too
    channels: int = Field(3, gt=0, le=64)
    wider: float = Field(1.0, gt=0, le=64)
    deeper: float = Field(1.0, gt=0, le=64)
    divisor: int = Field(8, gt=0, le=1024)
    stages: tuple[Stage, ...] = STAGES
    squeeze: float = Field(0.25, gt=0, le=1)
    activation: ActivationName = "silu"
    eps: float = Field(1e-3, gt=0)
    momentum: float = Field(0.01, gt=0, le=1)
    even: tuple[int, ...] = ()  # numbers of blocks that pad all sides alike, not the lower right more
    most: int = Field(2560, gt=0)  # what published files call hidden_dim: they pool over windows of so many pixels
    pool: Literal["mean", "max"] = "mean"

    def scaled(self, channels: int) -> int:
        """Channels scaled and rounded to a multiple of the divisor, never down by more than a tenth."""
        target = channels * self.wider
        rounded = max(self.divisor, int(target + self.divisor / 2) // self.divisor * self.divisor)
        return rounded + self.divisor if rounded < 0.9 * target else rounded

    @model_validator(mode="after")
    def _fits(self) -> "EfficientNetConfig":
        ends = [STEM, *(stage.channels for stage in self.stages)]
        for stage, before in zip(self.stages, ends, strict=False):
            if self.scaled(stage.inputs) != self.scaled(before):
                raise ValueError(f"a stage reads {stage.inputs} channels after one of {before}")
        return self

    @property
    def width(self) -> int:
        return self.scaled(self.stages[-1].channels)


class ConvNorm(nn.Module):
    """A convolution and a batch norm. even: a stride's padding is the same on all sides."""

    def __init__(
        self, config: EfficientNetConfig, inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1,
        even: bool = True,
    ):  # fmt: skip
        super().__init__()
        after = kernel // 2
        before = after if even or stride == 1 else after - 1
        self.sides = (before, after, before, after)
        padding = after if before == after else 0
        self.convolution = nn.Conv2d(inner, outer, kernel, stride, padding, groups=groups, bias=False)
        self.norm = BatchNorm(outer, config.eps, config.momentum)

    def forward(self, x: Tensor) -> Tensor:
        if self.sides[0] != self.sides[1]:
            x = F.pad(x, self.sides)
        out: Tensor = self.norm(self.convolution(x))
        return out


class MobileBlock(nn.Module):
    """Expand, filter each channel, weigh the channels, project: (B, C, h, w) -> (B, C', h', w')."""

    def __init__(self, config: EfficientNetConfig, stage: Stage, number: int, first: bool):
        super().__init__()
        outer = config.scaled(stage.channels)
        inner = config.scaled(stage.inputs) if first else outer
        wide, stride = inner * stage.expansion, stage.stride if first else 1
        narrow = max(1, int(inner * config.squeeze))
        self.activation, self.added = ACTIVATIONS[config.activation], not first
        self.expand = ConvNorm(config, inner, wide, 1) if stage.expansion != 1 else None
        self.filter = ConvNorm(config, wide, wide, stage.kernel, stride, wide, number in config.even)
        self.squeeze = nn.Conv2d(wide, narrow, 1)
        self.excite = nn.Conv2d(narrow, wide, 1)
        self.project = ConvNorm(config, wide, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.activation(self.expand(x))
        y = self.activation(self.filter(y))
        weights = self.excite(self.activation(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        projected: Tensor = self.project(y * weights)
        return x + projected if self.added else projected


class EfficientNet(nn.Module):
    """images (B, 3, height, width) -> (B, C), pooled over all places."""

    def __init__(self, config: EfficientNetConfig):
        super().__init__()
        self.config = config
        self.activation = ACTIVATIONS[config.activation]
        self.stem = ConvNorm(config, config.channels, config.scaled(STEM), 3, 2, even=False)
        plan = [
            (stage, repeat == 0)
            for stage in config.stages
            for repeat in range(math.ceil(config.deeper * stage.repeats))
        ]
        self.blocks = nn.ModuleList(
            MobileBlock(config, stage, number, first) for number, (stage, first) in enumerate(plan)
        )

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type == "cpu":  # channels last: several times as fast on a CPU
            images = images.contiguous(memory_format=torch.channels_last)
        x = self.activation(self.stem(images))
        for block in self.blocks:
            x = block(x)
        pooled: Tensor = x.mean((2, 3)) if self.config.pool == "mean" else x.amax((2, 3))
        return pooled
