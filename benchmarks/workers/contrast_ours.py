"""Train a CLIP of a given shape on pictures in memory with danlu's trainer; images/s after the first steps, as JSON."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from danlu.data.batch import Batch
from danlu.data.pictures.loader import Captioned, Framing, PictureLoader
from danlu.models.build import build
from danlu.models.dual import DualConfig, default_processor
from danlu.models.families import fresh
from danlu.train.contrast import PairObjective
from danlu.train.settings import TrainSettings
from danlu.train.trainer import Trainer
from danlu.voice import Voice

WARM, LENGTH = 3, 77
SHAPE = {"width": 192, "depth": 4, "heads": 3, "size": 64, "patch": 8, "shared": 192, "length": LENGTH}


class Clocked(PairObjective):
    """Notes when each step begins."""

    marks: list[float] = []  # noqa: RUF012

    def counts(self, batch: Batch) -> dict[str, int]:
        self.marks.append(time.perf_counter())
        return super().counts(batch)


def main(steps: int, batch: int, precision: str, file: str) -> None:
    data = np.load(file)
    captions = [row[: int(row[1:].argmin()) + 2].tolist() for row in data["tokens"]]  # up to the first end, which is 1
    config = fresh("clip-mini", int(data["tokens"].max()) + 1, end=1, **SHAPE)[1]
    assert isinstance(config, DualConfig)
    count = len(captions)
    pairs = Captioned(data["pixels"], np.arange(count), [[number] for number in range(count)], captions)
    loader = PictureLoader(pairs, default_processor(config), Framing(1, LENGTH), batch, 0)
    words = {"steps": steps + WARM, "batch": batch, "lr": 1e-3, "precision": precision, "save_every": 10**6}
    with tempfile.TemporaryDirectory() as place:
        settings = TrainSettings.model_validate(words | {"save_minutes": 10**6})
        Trainer(build(config), Clocked(), loader, settings, Path(place), voice=Voice(quiet=True)).run()
        ended = time.perf_counter()
    # The last step ends before the run's end is written; what comes after it counts for us as well.
    seconds = ended - Clocked.marks[-steps]
    print(json.dumps({
        "images_per_second": steps * batch / seconds, "threads": torch.get_num_threads(), "precision": precision,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
