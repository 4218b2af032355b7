"""Train a CLIP of a given shape on drawn scenes with danlu's trainer; images/s after the first steps, as JSON."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from danlu.data.pictures.loader import PictureLoader
from danlu.data.pictures.prepare import gather, prepare
from danlu.data.pictures.settings import PictureSettings
from danlu.models.build import build
from danlu.models.dual import DualConfig, default_processor
from danlu.models.families import fresh
from danlu.recipes.pictures.pretrain import Framing
from danlu.train.contrast import PairObjective
from danlu.train.settings import TrainSettings
from danlu.train.trainer import Trainer
from danlu.voice import Voice

WARM = 3


def main(steps: int, batch: int, precision: str, cache: str) -> None:
    """Captions become ids word by word: tokenizers are not what is measured."""
    quiet = Voice(quiet=True)
    settings = PictureSettings(paths=("builtin:scenes",), held_out=0.0, cache=Path(cache))
    gathered = gather(settings, quiet)
    words = {word: number for number, word in enumerate(sorted({w for c in gathered.captions() for w in c.split()}), 2)}
    shape = {"width": 192, "depth": 4, "heads": 3, "size": 64, "patch": 8, "shared": 192, "length": 77}
    config = fresh("clip-mini", len(words) + 2, end=1, **shape)[1]
    assert isinstance(config, DualConfig)

    def encode(texts: object) -> list[list[int]]:
        return [[0, *(words[word] for word in text.split()), 1] for text in texts]  # type: ignore[attr-defined]

    processor = default_processor(config)
    side = prepare(gathered, settings, processor, encode, quiet).training
    loader = PictureLoader(side.data, processor, Framing(1, 77), batch, 0)
    marks: list[float] = []

    class Clocked(PairObjective):
        def counts(self, batch):  # type: ignore[no-untyped-def]
            marks.append(time.perf_counter())
            return super().counts(batch)

    with tempfile.TemporaryDirectory() as place:
        train = TrainSettings(
            steps=steps + WARM, batch=batch, lr=1e-3, precision=precision, save_every=10**6, save_minutes=10**6
        )  # type: ignore[arg-type]
        Trainer(build(config), Clocked(), loader, train, Path(place), voice=quiet).run()
        seconds = time.perf_counter() - marks[-steps]
    print(json.dumps({
        "images_per_second": steps * batch / seconds, "threads": torch.get_num_threads(), "precision": precision,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
