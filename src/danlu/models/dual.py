"""Two towers in one space: a text and a picture that belong together lie close (CLIP, ALIGN, SigLIP, ChineseCLIP)."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from danlu.models.language import Tower
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.transformer import TransformerConfig
from danlu.settings import Settings
from danlu.vision.efficientnet import EfficientNet, EfficientNetConfig
from danlu.vision.tower import PictureConfig, PictureTower

MOST_SCALE = 100.0  # similarities are never multiplied by more (Radford et al. 2021, section 2.5)

TextPool = Literal["first", "last", "end", "highest"]


class SimilarityConfig(Settings):
    """kind: log, the factor's logarithm is learned (CLIP); temperature, its inverse itself (ALIGN). bias: added
    afterwards (SigLIP), None: nothing is. Both as a fresh model begins."""

    kind: Literal["log", "temperature"] = "log"
    start: float = math.log(1 / 0.07)
    bias: float | None = None


class DualConfig(Settings):
    """pool: the text's state that counts: of its first place, its last one, the first `end` token, or the highest id
    (what CLIP's first files mean). text_bias: of the layer behind the text tower. projected: there is such a layer
    behind the image tower, too."""

    kind: Literal["dual"] = "dual"
    embedding: TokenEmbeddingConfig
    text: TransformerConfig
    image: Annotated[PictureConfig | EfficientNetConfig, Field(discriminator="kind")]
    width: int = Field(gt=0, le=2**20)  # of the common space
    pool: TextPool = "end"
    end: int | None = None
    text_bias: bool = False
    projected: bool = True
    similarity: SimilarityConfig = SimilarityConfig()
    initial: InitialConfig = InitialConfig(scheme="towers", std=1.0)

    @property
    def vocabulary(self) -> int:
        return self.embedding.vocabulary

    @property
    def length(self) -> int | None:
        """The longest text."""
        return self.embedding.positions.length if self.embedding.positions else None

    @property
    def causal(self) -> bool:
        return self.text.causal

    @property
    def size(self) -> int:
        """Pixels along an edge of the pictures."""
        return self.image.size

    @property
    def channels(self) -> int:
        return self.image.patches.channels if isinstance(self.image, PictureConfig) else self.image.channels


class Similarity(nn.Module):
    """From cosines to logits: times a learned factor, plus a learned bias."""

    def __init__(self, config: SimilarityConfig):
        super().__init__()
        self.kind = config.kind
        self.value = nn.Parameter(torch.tensor(config.start))
        self.bias = nn.Parameter(torch.tensor(config.bias)) if config.bias is not None else None
        self.beginnings: Mapping[str, float] = {"value": config.start, "bias": config.bias or 0.0}

    @property
    def factor(self) -> Tensor:
        return self.value.exp() if self.kind == "log" else 1 / self.value

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the factor back between 1 (a temperature: any) and 100. Called before each step's losses."""
        if self.kind == "log":
            self.value.clamp_(0.0, math.log(MOST_SCALE))
        else:
            self.value.clamp_(min=1 / MOST_SCALE)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """(N, E), (M, E), both of length 1 -> (N, M), in float32."""
        with torch.autocast(images.device.type, enabled=False):
            logits = self.factor * (images.float() @ texts.float().T)
        return logits if self.bias is None else logits + self.bias


class DualEncoder(nn.Module):
    """tokens (M, T) and images (N, 3, height, width) -> similarities (N, M)."""

    def __init__(self, config: DualConfig):
        super().__init__()
        self.config = config
        self.locked: tuple[str, ...] = ()
        self.text = Tower(config.embedding, config.text)
        self.image = (
            EfficientNet(config.image) if isinstance(config.image, EfficientNetConfig) else PictureTower(config.image)
        )
        self.text_projection = nn.Linear(config.text.width, config.width, bias=config.text_bias)
        self.image_projection = nn.Linear(config.image.width, config.width, bias=False) if config.projected else None
        self.similarity = Similarity(config.similarity)

    def lock(self, tower: Literal["text", "image"]) -> None:
        """Keep a tower as it is, its running statistics, too (Zhai et al. 2021, LiT)."""
        self.locked = (*self.locked, tower)
        self.get_submodule(tower).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "DualEncoder":
        super().train(mode)
        for tower in self.locked:
            self.get_submodule(tower).eval()
        return self

    def embed_text(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T), valid (B, T) false for padding -> (B, E), of length 1.

        A causal tower that is read at its end needs no `valid` for padding behind; one that is read at its last place
        is meant to see its padding.
        """
        states = self.text(tokens, valid)
        return normalize(self.text_projection(self._chosen(states, tokens)).float(), dim=-1)

    def embed_image(self, images: Tensor) -> Tensor:
        """(B, 3, height, width), normalised as the checkpoint's processor does -> (B, E), of length 1.

        Films, (B, F, 3, height, width): the mean of their frames, so that their order does not count.
        """
        if images.ndim == 5:
            features = self.image(images.flatten(0, 1)).unflatten(0, images.shape[:2]).mean(1)
        else:
            features = self.image(images)
        if self.image_projection is not None:
            features = self.image_projection(features)
        return normalize(features.float(), dim=-1)

    def forward(self, tokens: Tensor, images: Tensor, valid: Tensor | None = None) -> Tensor:
        logits: Tensor = self.similarity(self.embed_image(images), self.embed_text(tokens, valid))
        return logits

    def _chosen(self, states: Tensor, tokens: Tensor) -> Tensor:
        """The state that stands for the text: (B, T, D) -> (B, D)."""
        match self.config.pool:
            case "first":
                return states[:, 0]
            case "last":
                return states[:, -1]
            case "highest":  # of the vocabulary: a prompt's soft vectors have ids beyond it
                at = torch.where(tokens < self.config.vocabulary, tokens, -1).argmax(1)
            case "end":
                at = torch.eq(tokens, self.config.end or 0).int().argmax(1)
        return states[torch.arange(len(states), device=states.device), at]
