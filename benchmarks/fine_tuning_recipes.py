"""Which settings of fine-tuning suit a small encoder? Chosen on the validation part; test rows are never looked at.

`python -m benchmarks.fine_tuning_recipes [--arms base average ...] [--rows N] [--seeds 0 1]`. all-MiniLM-L6-v2 on SST-2
(../shared/data): accuracy and loss on its dev part, and seconds, an arm a line; the last line holds the best arm beside
the one with nothing changed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.recipes.runs.folder import read_results

ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "embeddings": {"embeddings": True},
    "slow": {"train": {"lr": 5e-5}},
    "fast": {"train": {"lr": 2e-4}},
    "layer decay": {"train": {"lr": 2e-4, "layer_decay": 0.8}},
    "average": {"train": {"lr": 2e-4, "average": 0.99}},
    "smoothing": {"loss": {"smoothing": 0.1}},
    "consistency": {"loss": {"consistency": 4.0}},
    "lora": {"adapt": {"kind": "lora", "rank": 4, "also": ["classify.output"]}},
}
SST2 = SHARED / "data/sst2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--rows", type=int, help="of the training part; all where not given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    found: dict[str, list[float]] = {arm: [] for arm in options.arms}
    with tempfile.TemporaryDirectory() as place:
        lines = (SST2 / "train.tsv").read_text(encoding="utf8").splitlines(keepends=True)
        training = Path(place) / "train.tsv"
        training.write_text("".join(lines[: options.rows and options.rows + 1]), encoding="utf8")
        for seed in options.seeds:
            for arm in options.arms:
                row = once(arm, [training, SST2 / "dev.tsv"], Path(place) / f"{arm}-{seed}", seed)
                found[arm].append(row["accuracy"])
                print(json.dumps(row), file=sys.stderr, flush=True)
    means = {arm: statistics.fmean(values) for arm, values in found.items()}
    best = max(means, key=means.__getitem__)
    base = means.get("base", means[best])
    conditions = {"rows": options.rows or len(lines) - 1, "seeds": options.seeds, "best": best, "arms": means}
    question = "fine-tuning as it is against the best recipe tried, on validation rows"
    Answer(question, base, means[best], base / means[best], 0.995, conditions).show()


def once(arm: str, files: list[Path], folder: Path, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    run = danlu.finetune("minilm", files, output=folder, seed=seed, quiet=True, **ARMS[arm])
    rows = {row["name"]: row["value"] for row in read_results(run.path) if row["data"] == "validation"}
    return {"arm": arm, "seed": seed, "accuracy": rows["accuracy"], "loss": rows["loss"],
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip


if __name__ == "__main__":
    main()
