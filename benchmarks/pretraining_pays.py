"""Does pretraining here, for minutes and on little text, help what comes after?

`python -m benchmarks.pretraining_pays [--steps 4400] [--seeds 3] [--keep FOLDER]`. A small BERT is pretrained on
wikitext2 and three novels, then fine-tuned on questions (trec_qc), all its weights; its twin, the same model with the
same tokenizer, is fine-tuned untrained. Test rows are compared one by one, their answers averaged over the seeds.
The answer's ratio is the difference in points.
"""

import argparse
import gzip
import tempfile
from pathlib import Path

import numpy as np

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.evaluate.intervals import bootstrap, compare
from danlu.evaluate.predictions import read_predictions

DATA = SHARED / "data"
TEXTS = ("wikitext2/valid", "gutenberg_austen/austen-emma", "gutenberg_austen/austen-persuasion",
         "gutenberg_austen/austen-sense")  # fmt: skip
BAR = 5.0  # points of accuracy
PRETRAINING = {
    "data": {"length": 128},
    "tokenizer": {"vocabulary": 8000},
    "train": {"batch": 32, "optimizer": "muon", "schedule": "linear"},
    "samples": {"count": 0},
}


def answers(start: str, folder: Path, seeds: int, **settings) -> np.ndarray:
    """How often each row of the test part was answered rightly, as a share of the seeds: (rows,)."""
    right = []
    for seed in range(seeds):
        place = folder / f"{Path(start).name}-{seed}"
        words = {"data": {"columns": {"label": "coarse"}}, "seed": seed, "output": place}
        danlu.call("finetune", start, DATA / "trec_qc", **words, **settings)
        right.append([row.right for row in read_predictions(place / "predictions.jsonl")])
    return np.mean(right, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--keep", type=Path, help="a folder for the runs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        texts = []
        for name in TEXTS:
            texts.append(folder / f"{Path(name).name}.txt")
            texts[-1].write_bytes(gzip.decompress((DATA / f"{name}.txt.gz").read_bytes()))
        train = PRETRAINING["train"] | {"steps": options.steps}
        base = danlu.pretrain("bert-mini", texts, output=folder / "base", **PRETRAINING | {"train": train})
        after = {"train": {"epochs": options.epochs}, "embeddings": True}
        trained = answers(str(base.path), folder, options.seeds, **after)
        fresh = answers("bert-mini", folder, options.seeds, tokenizer={"path": str(base.model)}, **after)
    shown = {name: bootstrap(rows) for name, rows in (("pretrained", trained), ("untrained", fresh))}
    found = compare(fresh, trained)
    points = 100 * found.difference.value
    conditions = {
        "steps": options.steps, "seeds": options.seeds, "task": "trec_qc, 6 classes", "base": base.metrics,
        **{name: [round(100 * each, 2) for each in (row.value, row.low, row.high)] for name, row in shown.items()},
        "points": [round(100 * each, 2) for each in (found.difference.low, found.difference.high)],
    }  # fmt: skip
    question = "points of accuracy that pretraining adds on trec_qc"
    Answer(question, 100 * shown["pretrained"].value, 100 * shown["untrained"].value, points, BAR, conditions).show()


if __name__ == "__main__":
    main()
