"""How fast does danlu fine-tune a small encoder, against transformers' Trainer as shipped and as tuned by hand?

`python -m benchmarks.fine_tuning_speed [--rounds 3] [--examples 2000] [--whole]`. all-MiniLM-L6-v2 on SST-2, one epoch.
Each round has a seed of its own, so accuracies are a mean over as many seeds. --whole: all 6,920 sentences with zero
settings instead, the same model from nothing beside it, and the Trainer's three epochs.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.answer import Answer, interleaved, median, worker

WORKERS = Path(__file__).parent / "workers"
BARS = {"shipped": 3.0, "tuned": 1.25}
ALL, ENOUGH = 6920, 0.895


def speed(rounds: int, examples: int) -> None:
    """Training and inference, against both."""
    with tempfile.TemporaryDirectory() as place:
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *BARS)}
        for seed in range(rounds):
            calls = {name: [str(WORKERS / "trainer_sst2.py"), name, str(examples), "1", str(seed)] for name in BARS}
            calls = {"ours": [str(WORKERS / "danlu_sst2.py"), "minilm", str(examples), "1", str(seed)], **calls}
            for name, found in interleaved(calls, 1, Path(place)).items():
                rows[name] += found
    accuracy = {name: round(statistics.fmean(row["accuracy"] for row in found), 4) for name, found in rows.items()}
    conditions = {
        "rounds": rounds, "examples": examples, "threads": rows["ours"][0]["threads"], "accuracy": accuracy,
        "peak_mb": {name: median(found, "peak_mb") for name, found in rows.items()}, "peer": rows["tuned"][0]["peer"],
    }  # fmt: skip
    for work in ("infer", "train"):
        ours = median(rows["ours"], f"{work}_per_second")
        for name, bar in BARS.items():
            theirs = median(rows[name], f"{work}_per_second")
            question = f"all-MiniLM-L6-v2 on SST-2, {work}: examples/s against transformers' Trainer {name}"
            Answer(question, ours, theirs, ours / theirs, bar, conditions).show()


def whole(rounds: int) -> None:
    """Accuracy with zero settings."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ours = [
            worker([str(WORKERS / "danlu_sst2.py"), "minilm", str(ALL), "-", str(seed)], folder)
            for seed in range(rounds)
        ]
        fresh = worker([str(WORKERS / "danlu_sst2.py"), "bert-mini", str(ALL), "-", "0"], folder)
        theirs = worker([str(WORKERS / "trainer_sst2.py"), "tuned", str(ALL), "3", "0"], folder)
    mean = statistics.fmean(row["accuracy"] for row in ours)
    conditions = {"ours": [row["accuracy"] for row in ours], "trainer": theirs["accuracy"], "fresh": fresh["accuracy"]}
    question = "all 6,920 sentences of SST-2, zero settings: test accuracy against the bar"
    Answer(question, mean, ENOUGH, mean / ENOUGH, 1.0, conditions).show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    if options.whole:
        whole(options.rounds)
    else:
        speed(options.rounds, options.examples)


if __name__ == "__main__":
    main()
