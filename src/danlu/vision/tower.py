"""A transformer that looks at pictures, and how its states become one vector."""

from typing import Literal

import torch
from torch import Tensor, nn

from danlu.nn.attention import Attention, AttentionConfig
from danlu.nn.marks import Marks
from danlu.nn.mlp import Mlp
from danlu.nn.transformer import Transformer, TransformerConfig
from danlu.nn.visibility import ALL
from danlu.settings import Settings
from danlu.vision.patches import PatchConfig, PatchEmbedding

Pool = Literal["summary", "attention"]


class PictureConfig(Settings):
    """A vision transformer. pool: the summary's state (CLIP), or an attention with a learned question (SigLIP)."""

    kind: Literal["transformer"] = "transformer"
    patches: PatchConfig
    transformer: TransformerConfig
    pool: Pool = "summary"

    @property
    def size(self) -> int:
        return self.patches.size

    @property
    def width(self) -> int:
        return self.transformer.width


class AttentionPool(nn.Module):
    """One learned question to all states, then a feed-forward: (B, T, D) -> (B, D) (Zhai et al. 2022, section 3)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.question = nn.Parameter(torch.empty(1, config.width))
        self.attention = Attention(config.width, AttentionConfig(heads=config.attention.heads))
        self.norm = config.norm.build(config.width)
        self.mlp = Mlp(config.width, config.mlp)

    def forward(self, states: Tensor) -> Tensor:
        question = self.question.to(states.dtype).expand(len(states), 1, -1)
        x = self.attention(question, states, visible=ALL)
        pooled: Tensor = (x + self.mlp(self.norm(x)))[:, 0]
        return pooled


class PictureTower(nn.Module):
    """images (B, C, height, width) -> (B, D)."""

    def __init__(self, config: PictureConfig):
        super().__init__()
        self.config = config
        self.embedding = PatchEmbedding(config.transformer.width, config.patches)
        attends = config.pool == "attention"
        self.transformer = Transformer(config.transformer)
        self.pool = AttentionPool(config.transformer) if attends else None

    def states(self, images: Tensor) -> Tensor:
        """Of every patch, and of the summary in front where there is one: (B, T, D)."""
        x = self.embedding(images)
        marks = Marks(torch.zeros(1, x.shape[1], dtype=torch.long, device=x.device))
        states: Tensor = self.transformer(x, marks)
        return states

    def forward(self, images: Tensor) -> Tensor:
        states = self.states(images)
        pooled: Tensor = states[:, 0] if self.pool is None else self.pool(states)
        return pooled
