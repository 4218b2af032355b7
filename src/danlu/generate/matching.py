"""A model of pictures and texts, put to use: vectors of both, how well they match, names for pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.loader import Framing
from danlu.errors import DanluError
from danlu.models.dual import DualConfig, DualEncoder
from danlu.models.multimodal import MultimodalConfig, MultimodalModel
from danlu.vision.opening import open_picture

Floats = NDArray[np.float32]
Picture = str | Path | bytes | Image.Image
PORTION = 64  # pictures, or texts, in one forward pass


class Matcher:
    """Pictures are paths, bytes or Pillow's; vectors are of length 1. E2214 for a model without pictures, or without a
    space that they share with texts."""

    def __init__(self, checkpoint: Checkpoint):
        model, config, tokenizer = checkpoint.model, checkpoint.config, checkpoint.tokenizer
        shared = isinstance(model, MultimodalModel) and model.common is not None
        if not isinstance(config, DualConfig | MultimodalConfig) or not (shared or isinstance(model, DualEncoder)):
            raise DanluError("E2214", where=checkpoint.where, found=checkpoint.family.name)
        assert isinstance(model, DualEncoder | MultimodalModel)
        if tokenizer is None or checkpoint.processor is None:
            raise DanluError("E1301", where=checkpoint.where)
        self.checkpoint, self.model, self.config = checkpoint, model, config
        self.tokenizer, self.processor = tokenizer, checkpoint.processor

    @property
    def width(self) -> int:
        """Of the common space."""
        return self.config.width if isinstance(self.config, DualConfig) else self.config.common or 0

    @property
    def framing(self) -> Framing:
        """How captions become rows for this model."""
        special, config = self.tokenizer.special, self.config
        pad = special.get("pad", special.get("end", 0))
        if isinstance(config, MultimodalConfig):  # the mean of all tokens, but not of padding
            return Framing(pad, config.length or PORTION, marked=True)
        last = config.pool == "last"
        return Framing(pad, config.length or PORTION, whole=last, marked=not config.causal and not last)

    def encode(self, texts: Sequence[str], length: int | None = None) -> list[list[int]]:
        """Framed ids, no longer than the model reads, their last token kept."""
        most = min(length or 2**30, self.config.length or 2**30) - len(self.tokenizer.frame([]))
        return [self.tokenizer.frame(ids[:most]) for ids in self.tokenizer.encode_many(texts)]

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """(N, E)."""
        ids, device = self.encode(texts), next(self.model.parameters()).device
        found = []
        for start in range(0, len(ids), PORTION):
            rows = self.framing.rows(ids[start : start + PORTION])
            found.append(self.model.embed_text(**{name: each.to(device) for name, each in rows.items()}).cpu())
        return torch.cat(found).numpy() if found else np.zeros((0, self.width), np.float32)

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[Picture]) -> Floats:
        """(N, E). E2201 to E2203 for what cannot be read."""
        device, found = next(self.model.parameters()).device, []
        for start in range(0, len(pictures), PORTION):
            rows = np.stack([self.processor(opened(each)) for each in pictures[start : start + PORTION]])
            found.append(self.model.embed_image(torch.from_numpy(rows).to(device)).cpu())
        return torch.cat(found).numpy() if found else np.zeros((0, self.width), np.float32)

    def match(self, pictures: Sequence[Picture], texts: Sequence[str]) -> Floats:
        """Cosines, pictures by texts."""
        return self.embed_pictures(pictures) @ self.embed_texts(texts).T

    def classes(self, names: Sequence[str], templates: Sequence[str] = ("{name}",)) -> Floats:
        """One vector a class: the mean of its prompts' vectors, of length 1 again (Radford et al. 2021, 3.1.4)."""
        prompts = [template.format(name=name) for name in names for template in templates]
        means: Floats = self.embed_texts(prompts).reshape(len(names), len(templates), -1).mean(1)
        unit: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def name(
        self, pictures: Sequence[Picture], names: Sequence[str], templates: Sequence[str] = ("{name}",)
    ) -> list[str]:
        """The class of each picture, without training."""
        nearest = (self.embed_pictures(pictures) @ self.classes(names, templates).T).argmax(1)
        return [names[at] for at in nearest]


def opened(picture: Picture) -> Image.Image:
    """E2201 to E2203."""
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    return open_picture(Path(picture) if isinstance(picture, str) else picture)
