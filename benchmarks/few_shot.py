"""With few labelled rows, is it better to train a model by a prompt than to put a head on it?

`python -m benchmarks.few_shot [--minutes 20 | --steps N] [--seeds 5] [--rows 16 64] [--families bert gpt2]
[--tuning 200] [--test N] [--keep FOLDER]`. A BERT and a GPT are pretrained here, for some minutes, on the sentences of
SST-2 (their labels unread) and general text; then each is fine-tuned on 16 and on 64 rows a class, once by a prompt
(`danlu prompt tune adapt=full`, LM-BFF) and once with a classification head (`danlu finetune`), both with as many
steps, both choosing by as many rows again. Accuracy is that of the test part, over seeds; the last line is the mean
difference at the fewest rows a class, in points.
"""

import argparse
import gzip
import json
import statistics
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.evaluate.intervals import bootstrap
from danlu.evaluate.predictions import read_predictions

SST2 = SHARED / "data/sst2"
TEXTS = ("wikitext2/valid", "wikitext2/test", "gutenberg_austen/austen-emma")
TEMPLATE = {"bert": "{text} It was {mask}.", "gpt2": "{text} It was {mask}"}
WORDS = {"0": "bad", "1": "good"}
BATCH = 16
SEEDS = (13, 21, 42, 87, 100)
BAR = 0.0  # points: better on average
PRETRAINING = {
    "data": {"length": 64}, "tokenizer": {"vocabulary": 8000}, "samples": {"count": 0},
    "train": {"batch": 64, "optimizer": "muon", "lr": 5e-3, "schedule": "linear"},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--steps", type=int, help="of pretraining, in the place of minutes")
    parser.add_argument("--tuning", type=int, default=200, help="steps of each fine-tuning")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[16, 64], help="a class")
    parser.add_argument("--families", nargs="+", default=["bert", "gpt2"], choices=list(TEMPLATE))
    parser.add_argument("--test", type=int, help="rows of the test part; all where not given")
    parser.add_argument("--keep", type=Path, help="a folder for the runs; models in it are not pretrained again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, Any] = {}
        for family in options.families:
            start = pretrained(family, folder, options)
            for rows in options.rows:
                found[f"{family} {rows}"] = compared(family, start, rows, folder, options)
                print(json.dumps({f"{family} {rows}": found[f"{family} {rows}"]}), file=sys.stderr, flush=True)
    least = min(options.rows)
    few = [each for name, each in found.items() if name.endswith(f" {least}")]
    ours, theirs = (statistics.fmean(each[way]["mean"] for each in few) for way in ("prompt", "head"))
    question = f"points of accuracy of a prompt over a head, {least} rows a class of sst2"
    conditions = {"minutes": options.minutes, "steps": options.steps, "seeds": options.seeds, "found": found}
    Answer(question, ours, theirs, ours - theirs, BAR, conditions).show()


def pretrained(family: str, folder: Path, options: argparse.Namespace) -> Path:
    """A model that has read the sentences, and other text."""
    place = folder / f"base-{family}"
    texts = []
    for name in TEXTS:
        texts.append(folder / f"{name.replace('/', '-')}.txt")
        texts[-1].write_bytes(gzip.decompress((SHARED / f"data/{name}.txt.gz").read_bytes()))
    texts.append(folder / "sentences.txt")
    texts[-1].write_text("\n\n".join(text for _, text in lines("train")), encoding="utf8")
    if not (place / "README.md").is_file():
        train = PRETRAINING["train"] | ({"steps": options.steps} if options.steps else {"minutes": options.minutes})
        danlu.pretrain(f"{family}-mini", texts, output=place, **PRETRAINING | {"train": train})
    return place


def compared(family: str, start: Path, rows: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both ways with each seed: accuracies, their mean and spread, the difference with its interval over test rows."""
    right: dict[str, list[list[bool]]] = {"prompt": [], "head": []}
    train = {"steps": options.tuning, "batch": BATCH, "evaluate_every": max(1, options.tuning // 10)}
    for seed in SEEDS[: options.seeds]:
        data = files(folder / f"{rows}-{seed}", rows, seed, options.test)
        place = folder / f"{family}-{rows}-{seed}"
        common: dict[str, Any] = {"seed": seed, "train": train, "quiet": True}
        if not (place / "prompt/predictions.jsonl").is_file():
            danlu.call("prompt", "tune", start, data, adapt="full", template=TEMPLATE[family], labels=WORDS,
                       output=place / "prompt", **common)  # fmt: skip
        if not (place / "head/predictions.jsonl").is_file():
            danlu.call("finetune", start, data, output=place / "head", **common)
        for way, answers in right.items():
            answers.append([row.right for row in read_predictions(place / way / "predictions.jsonl")])
    means = {way: [100 * float(np.mean(each)) for each in answers] for way, answers in right.items()}
    gained = np.mean(right["prompt"], axis=0, dtype=float) - np.mean(right["head"], axis=0, dtype=float)
    interval = bootstrap(gained)
    return {
        way: {"mean": statistics.fmean(values), "std": statistics.pstdev(values), "worst": min(values),
              "best": max(values), "each": [round(value, 2) for value in values]}
        for way, values in means.items()
    } | {"difference": [round(100 * each, 2) for each in (interval.value, interval.low, interval.high)]}  # fmt: skip


def files(place: Path, rows: int, seed: int, tested: int | None) -> Path:
    """So many rows of each class to learn from, as many to choose by, and the test part."""
    place.mkdir(parents=True, exist_ok=True)
    pool = lines("train")
    Random(seed).shuffle(pool)
    by_class = {name: [each for each in pool if each[0] == name] for name in WORDS}
    parts = {
        "train": [each for some in by_class.values() for each in some[:rows]],
        "dev": [each for some in by_class.values() for each in some[rows : 2 * rows]],
        "test": lines("test")[:tested],
    }
    for name, some in parts.items():
        table = "".join(f"{label}\t{text}\n" for label, text in some)
        (place / f"{name}.tsv").write_text("label\ttext\n" + table, encoding="utf8")
    return place


def lines(part: str) -> list[tuple[str, str]]:
    """(label, text)."""
    rows = (SST2 / f"{part}.tsv").read_text(encoding="utf8").splitlines()[1:]
    return [(label, text) for label, _, text in (row.partition("\t") for row in rows)]


if __name__ == "__main__":
    main()
