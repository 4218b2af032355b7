"""Models of pictures and texts: how often one finds the other."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.data.batch import Batch
from danlu.data.pictures.prepare import Side
from danlu.errors import DanluError
from danlu.evaluate.intervals import Comparison, compare
from danlu.evaluate.pictures import best_place, embed, retrieval
from danlu.models.dual import DualEncoder
from danlu.recipes.compressing.subject import Part, Quality, Subject, spread
from danlu.recipes.pictures.pretrain import loader
from danlu.train.contrast import CONTRASTS, ContrastSettings
from danlu.train.distill import Distil, DistilObjective
from danlu.train.evaluation import Stream
from danlu.voice import Voice

GALLERY = 64  # rows in a batch


@dataclass(frozen=True)
class Sides:
    training: Side
    validation: Side


class Matching(Subject):
    """contrast: the loss it was trained with, a name in CONTRASTS."""

    def __init__(self, checkpoint: Checkpoint, sides: Sides, contrast: str, sample: int, seed: int):
        super().__init__(checkpoint, sample, seed)
        self.sides, self.contrast = sides, contrast

    def on(self, checkpoint: Checkpoint) -> "Matching":
        if checkpoint.config.vocabulary != self.checkpoint.config.vocabulary:
            raise DanluError("E2405", found="vocabulary")
        return Matching(checkpoint, self.sides, self.contrast, self.sample, self.seed)

    def stream(self, part: Part, rows: int, seed: int, shuffle: bool) -> Stream:
        side = self.sides.training if part == "training" else self.sides.validation
        return loader(self.checkpoint, side, min(rows, len(side.data)), seed, shuffle)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        found: Tensor = model(**batch.inputs)
        return found

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, DualEncoder)
        inputs, alike = batch.inputs, batch.targets["alike"]
        own = (model.embed_image(inputs["images"]), model.embed_text(inputs["tokens"], inputs.get("valid")))
        return CONTRASTS[self.contrast](
            model.similarity, own, own, alike[:, None] == alike[None, :], ContrastSettings()
        )

    def quality(self, model: nn.Module, part: Part, voice: Voice) -> Quality:
        assert isinstance(model, DualEncoder)
        batches = self.stream(part, GALLERY, self.seed, shuffle=False)
        found = embed(model, (batches.batch(at) for at in spread(batches, self.sample, GALLERY)))
        right = found.alike[:, None] == found.alike[None, :]
        rows = (best_place(found.similarities, right) < 1).astype(float)
        interval = retrieval(found, (1,))["text_r1"]
        return Quality(interval.plain() | {"name": "text_r1", "data": part, "unit": "rows"}, rows)

    def compare(self, first: Quality, second: Quality) -> Comparison:
        return compare(first.rows, second.rows)

    def objective(self, teacher: nn.Module, settings: Distil) -> DistilObjective:
        return DistilObjective(teacher, settings, contrast=self.contrast)

    def sample_inputs(self, rows: int, length: int) -> dict[str, Tensor]:
        inputs: dict[str, Any] = super().sample_inputs(rows, length)
        config: Any = self.checkpoint.config
        draw = torch.Generator().manual_seed(1)
        return inputs | {"images": torch.rand(rows, config.channels, config.size, config.size, generator=draw)}
