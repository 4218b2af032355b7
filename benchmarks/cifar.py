"""How far does a CLIP trained from nothing on 6,000 small photos get, beside the same tower trained for classes?

`python -m benchmarks.cifar [--steps 1500] [--start clip-tiny]`. cifar10_jpeg: captions from class folders, then naming
by prompts on the 1,500 test photos (zero-shot), a linear probe on its frozen vectors, and the supervised twin: the same
tower with a linear head, the same steps, rates and crops. Ours is the accuracy in per cent, theirs the twin's; no bar.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.data.batch import Batch
from danlu.models.dual import DualEncoder
from danlu.recipes.pictures.plan import plan
from danlu.recipes.pictures.pretrain import begin, loader, loaders, towers
from danlu.recipes.runs.call import Call, nested
from danlu.train.trainer import Trainer
from danlu.voice import Voice

DATA = SHARED / "data" / "cifar10_jpeg"
TEMPLATES = "a photo of a {name}|a small photo of a {name}|a blurry photo of a {name}|{name}"
RECIPE = {
    "model.size": 32, "model.patch": 4, "model.depth": 4, "train.batch": 128, "data.crop": 0.5, "data.flip": True,
    "data.caption": "a photo of a {name}", "data.held_out": 0.02, "train.evaluate_every": 500,
}  # fmt: skip


class Twin(nn.Module):
    """The tower of a CLIP with a linear head."""

    def __init__(self, towers: DualEncoder, classes: int):
        super().__init__()
        self.config, self.image = towers.config, towers.image
        self.head = nn.Linear(towers.config.image.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.image(images))
        return logits


class Classes:
    """Cross-entropy of the class of each picture, which is the number of its caption."""

    weights: Mapping[str, float] = {"classes": 1.0}

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"classes": batch.rows}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits = model(batch.inputs["images"]).float()
        return {"classes": cross_entropy(logits, batch.targets["alike"], reduction="sum")}


def supervised(start: str, settings: Mapping[str, Any], folder: Path) -> float:
    """Accuracy of the twin on the test photos, in per cent."""
    call = Call((start, str(DATA / "train.zip")), nested({**settings, "output": str(folder)}), Voice(quiet=True))
    ready = plan(call)
    checkpoint, prepared = begin(ready, call.voice)
    side = prepared.training
    model = Twin(towers(checkpoint), len(side.captions))
    loading = loaders(ready, checkpoint, prepared)
    Trainer(model, Classes(), loading.training, ready.settings.train, folder, voice=call.voice).run()
    tests = {**settings, "data.held_out": 0.0, "output": str(folder / "test")}
    _, held = begin(plan(Call((start, str(DATA / "test.zip")), nested(tests), call.voice)), call.voice)
    batches, right = loader(checkpoint, held.training, 128, 0), 0
    for step in range(batches.steps_per_epoch):
        batch = batches.batch(step)
        with torch.no_grad():
            said = model.eval()(batch.inputs["images"]).argmax(1).tolist()
        asked = [held.training.captions[number] for number in batch.targets["alike"].tolist()]
        right += sum(side.captions[one] == other for one, other in zip(said, asked, strict=True))
    return 100 * right / len(held.training.pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--start", default="clip-tiny")
    given = parser.parse_args()
    settings = {**RECIPE, "train.steps": given.steps}
    with tempfile.TemporaryDirectory() as place:
        began, folder = time.monotonic(), Path(place)
        run = danlu.pretrain(given.start, DATA / "train.zip", output=folder / "clip", **settings)
        found = danlu.call(
            "evaluate", run.path, DATA / "test.zip", probe=str(DATA / "train.zip"),
            templates=TEMPLATES, **{"data.caption": "{name}"},
        ).metrics  # fmt: skip
        twin = supervised(given.start, settings, folder / "twin")
        seconds = time.monotonic() - began
    values = {name: 100 * found[name]["value"] for name in ("zero_shot", "probe")}
    conditions = {"start": given.start, "seconds": round(seconds), **settings, **values, "twin": twin}
    for name, value in values.items():
        Answer(f"cifar10_jpeg, {name} beside a supervised twin", value, twin, value / max(twin, 1e-9), 0.0,
               conditions).show()  # fmt: skip


if __name__ == "__main__":
    main()
