"""How well does a small encoder-decoder translate, from nothing, in minutes on two cores?

`python -m benchmarks.translation [--minutes 40 | --steps N] [--start t5-mini] [--settings name=value ...]`: multi30k,
English to German, 29,000 captions; BLEU of sacrebleu on the 1,000 of test_2016_flickr, by default settings else.
"""

import argparse
import gzip
import tempfile
import time
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.recipes.runs.folder import read_results

DATA = SHARED / "data/multi30k"
PARTS = {"train": "train", "val": "val", "test_2016_flickr": "test"}
BAR = 30.0  # BLEU


def captions(folder: Path, *languages: str) -> Path:
    """The captions as plain files: train.en, train.de, ... test.de."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        for language in languages:
            text = gzip.decompress((DATA / f"{name}.{language}.gz").read_bytes())
            (folder / f"{part}.{language}").write_bytes(text)
    return folder


def on_test(run: Any, metric: str) -> dict[str, Any]:
    """The result of a run's test part: value, low, high."""
    return next(row for row in read_results(run.path) if row["name"] == metric and row["data"] == "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--start", default="t5-mini")
    parser.add_argument("--settings", nargs="*", default=[])
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    settings = dict(each.split("=", 1) for each in options.settings)
    length = {"train.steps": options.steps} if options.steps else {"train.minutes": options.minutes}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        text = captions(folder / "captions", "en", "de")
        began = time.monotonic()
        run = danlu.finetune(options.start, text, task="translate", output=folder / "run", **length, **settings)
        seconds = time.monotonic() - began
        found = on_test(run, "bleu")
    conditions = {
        "start": options.start, "seconds": round(seconds), **length, **settings,
        "interval": [found["low"], found["high"]], "test": "test_2016_flickr", "everything": "tokenizer to evaluation",
    }  # fmt: skip
    question = "BLEU of multi30k, English to German, from nothing"
    Answer(question, found["value"], BAR, found["value"] / BAR, 1.0, conditions).show()


if __name__ == "__main__":
    main()
