"""A language model that sees: pictures and films as vectors between its tokens, and one space for all three.

Pictures reach the trunk through a tower and a projector (LLaVA, Liu et al. 2023), or as plain patches that the trunk
itself looks at (Fuyu; GenLIP): `image` says which. A film is the patches of its frames, one after the other.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import normalize

from danlu.models.dual import Similarity, SimilarityConfig
from danlu.models.language import LanguageModel, LanguageModelConfig
from danlu.models.spread import Grid
from danlu.nn.cache import Cache
from danlu.nn.mlp import Activation, ActivationName
from danlu.nn.positions import RotaryPositions
from danlu.settings import Settings
from danlu.vision.patches import PatchConfig, PatchEmbedding
from danlu.vision.tower import PictureConfig, PictureTower


class ProjectorConfig(Settings):
    """shuffle: so many vectors of a tower along each edge become one (a pixel shuffle; Shi et al. 2016)."""

    shuffle: int = Field(1, ge=1, le=16)
    activation: ActivationName = "gelu"


class MultimodalConfig(LanguageModelConfig):
    """A causal language model that sees.

    image: a tower, or plain patches. projector: behind a tower. media: the id that stands in a row for a vector of a
    picture; before, after: ids set around pictures. axes, both_ways: as of a `Grid`. common: the width of the space
    that texts, pictures and films share, None without one.
    """

    kind: Literal["multimodal"] = "multimodal"  # type: ignore[assignment]
    image: Annotated[PictureConfig | PatchConfig, Field(discriminator="kind")]
    projector: ProjectorConfig = ProjectorConfig()
    media: int = Field(0, ge=0)
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    axes: bool = False
    both_ways: bool = True
    common: int | None = Field(None, gt=0, le=2**20)
    similarity: SimilarityConfig = SimilarityConfig()

    @property
    def size(self) -> int:
        """Pixels along an edge of the pictures."""
        return self.image.size

    @property
    def channels(self) -> int:
        return self._patches.channels

    @property
    def side(self) -> int:
        """Vectors along an edge of a picture."""
        return self._patches.side // self._shuffle

    @property
    def each(self) -> int:
        """Vectors, and so tokens, of a picture."""
        return self.side**2

    @property
    def _patches(self) -> PatchConfig:
        return self.image if isinstance(self.image, PatchConfig) else self.image.patches

    @property
    def _shuffle(self) -> int:
        return 1 if isinstance(self.image, PatchConfig) else self.projector.shuffle

    @model_validator(mode="after")
    def _sees(self) -> "MultimodalConfig":
        if not self.transformer.causal:
            raise ValueError("the trunk is causal")
        if self._patches.side % self._shuffle:
            raise ValueError(f"shuffle {self._shuffle} does not divide {self._patches.side} patches along an edge")
        if isinstance(self.image, PatchConfig) and self.image.summary:
            raise ValueError("plain patches have no summary")
        if self.axes and not isinstance(self.transformer.positions, RotaryPositions):
            raise ValueError("axes are turned into rotations: they need rotary positions")
        return self


class Projector(nn.Module):
    """Vectors of a tower (N, S, S, C) -> of the trunk (N, S/k, S/k, D), k x k of them as one."""

    def __init__(self, inner: int, width: int, config: ProjectorConfig):
        super().__init__()
        self.shuffle = config.shuffle
        self.up = nn.Linear(inner * config.shuffle**2, width)
        self.activation = Activation(config.activation)
        self.down = nn.Linear(width, width)

    def forward(self, grid: Tensor) -> Tensor:
        count, side, _, inner = grid.shape
        k = self.shuffle
        split = grid.view(count, side // k, k, side // k, k, inner).permute(0, 1, 3, 2, 4, 5)
        out: Tensor = self.down(self.activation(self.up(split.flatten(3))))
        return out


class MultimodalModel(LanguageModel):
    """Tokens and pictures to logits: (B, T) -> (B, T, V). Without pictures, a language model like any other."""

    config: MultimodalConfig

    def __init__(self, config: MultimodalConfig):
        super().__init__(config)
        width, image = config.embedding.width or config.transformer.width, config.image
        self.image: PatchEmbedding | PictureTower
        self.projector: Projector | None = None
        if isinstance(image, PatchConfig):
            self.image = PatchEmbedding(width, image)
        else:
            self.image, self.projector = PictureTower(image), Projector(image.width, width, config.projector)
        self.locked = False
        shared = config.common is not None
        self.common = nn.Linear(config.transformer.width, config.common or 0, bias=False) if shared else None
        self.similarity = Similarity(config.similarity) if shared else None
        self.grid = Grid(config.media, config.side, config.axes, config.both_ways)

    def hidden(
        self, tokens: Tensor, valid: Tensor | None = None, segments: Tensor | None = None, steps: Tensor | None = None,
        documents: Tensor | None = None, positions: Tensor | None = None, languages: Tensor | None = None,
        cache: Cache | None = None, images: Tensor | None = None, branches: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """What the head reads: (B, T, D).

        images (B, [frames,] 3, height, width), normalised: as many of each row's, from the first, as the row has
        placeholders for. branches (B, T): as of `Marks`. The rest as of a language model; positions and steps follow
        from the tokens unless given.
        """
        valid = None if valid is None else valid.bool()
        if positions is None:
            positions, natural = self.grid.spread(tokens, valid, documents, branches)
            steps = natural if steps is None else steps
            if cache is not None and cache.marks is not None:
                positions, steps = _further(positions, steps, cache, self.tower.prefix)
        seen = None if images is None else self._seen(tokens, images)
        hidden: Tensor = self.tower(
            tokens, valid, segments, steps, documents, positions, languages, cache=cache, branches=branches, seen=seen
        )
        return hidden

    def vectors(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, height, width) as vectors of the trunk: (N, S, D)."""
        if isinstance(self.image, PatchEmbedding):
            plain: Tensor = self.image(images)
            return plain
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.locked):
            states = self.image.states(images)
        assert self.projector
        assert isinstance(self.config.image, PictureConfig)
        patches = self.config.image.patches
        kept = states[:, int(patches.summary) :]
        grid = kept.reshape(len(kept), patches.side, patches.side, -1)
        projected: Tensor = self.projector(grid).flatten(1, 2)
        return projected

    def lock(self, part: Literal["image", "trunk"]) -> None:
        """Keep the tower of pictures, or the language model, as it is."""
        if part == "trunk":
            self.tower.requires_grad_(False)
            self.head.requires_grad_(False)
        else:
            self.image.requires_grad_(False)
            self.locked = not isinstance(self.image, PatchEmbedding)

    # The common space

    def pooled(self, hidden: Tensor, kept: Tensor) -> Tensor:
        """The mean of states (B, T, D) that are kept (B, T), in the common space: (B, E), of length 1."""
        assert self.common is not None
        weight = kept.to(hidden.dtype)[..., None]
        mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
        return normalize(self.common(mean).float(), dim=-1)

    def embed_text(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T), valid (B, T) false for padding -> (B, E), of length 1."""
        kept = torch.ones_like(tokens) if valid is None else valid
        return self.pooled(self.hidden(tokens, valid), kept)

    def embed_image(self, images: Tensor) -> Tensor:
        """(B, 3, height, width), or films (B, F, 3, height, width), normalised -> (B, E), of length 1."""
        frames = images.shape[1] if images.ndim == 5 else 1
        row = torch.tensor([self.stem(frames)], device=images.device)
        tokens = row.expand(len(images), -1)
        return self.pooled(self.hidden(tokens, images=images), tokens == self.config.media)

    def stem(self, frames: int = 1) -> list[int]:
        """What a row begins with that is about a picture, or a film of so many frames."""
        return [*self.config.before, *[self.config.media] * (frames * self.config.each)]

    def _seen(self, tokens: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Where placeholders stand, and what takes their places."""
        places = tokens == self.config.media
        images = images if images.ndim == 5 else images[:, None]
        wanted = places.sum(1) // self.config.each
        used = torch.arange(images.shape[1], device=images.device) < wanted[:, None]
        return places, self.vectors(images[used]).flatten(0, 1)


def _further(positions: Tensor, steps: Tensor | None, cache: Cache, prefix: int) -> tuple[Tensor, Tensor | None]:
    """Positions and steps of tokens that follow those of a cache, whose last are no padding."""
    marks = cache.marks
    assert marks
    if marks.positions.ndim < positions.ndim:
        marks = cache.marks = replace(marks, positions=_three(marks.positions))
    elif positions.ndim < marks.positions.ndim:
        positions = _three(positions)
    before = marks.positions[:, -1:] - prefix
    before = before if before.ndim == 2 else before.amax(-1, keepdim=True)
    if steps is not None or marks.steps is not None:
        own = torch.arange(positions.shape[1], device=positions.device)[None] if steps is None else steps
        steps = own + (marks.count if marks.steps is None else marks.steps[:, -1:] + 1)
    return positions + before + 1, steps


def _three(positions: Tensor) -> Tensor:
    """Of text, every axis is the same: (B, T) -> (B, T, 3)."""
    return positions[..., None].expand(*positions.shape, 3)
