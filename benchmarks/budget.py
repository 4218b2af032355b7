"""Does the search keep a budget of 12 MB and 1 %, and does its recipe give the same bytes again?

`python -m benchmarks.budget [--epochs 3] [--trials 8] [--folder DIR]`. all-MiniLM-L6-v2 (91 MB) fine-tuned on SST-2.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.answer import Answer
from benchmarks.compressing import before, classifier, compressed, value
from danlu.settings import read_yaml

SIZE = 12_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    start = classifier(asked.folder or Path(tempfile.mkdtemp()), asked.epochs)
    search = {"trials": asked.trials, "heal": 1.0}
    found = compressed(start, "sst2-budget", max_size=SIZE, max_drop=0.01, search=search)
    recipe = read_yaml(start.parent / "sst2-budget" / "recipe.yaml")
    again = compressed(start, "sst2-again", steps=recipe["steps"])
    size = found["steps"][-1]["measured"]["size"]["file"]
    conditions = {
        "same bytes": again["hash"] == found["hash"], "accuracy": round(value(found), 4),
        "before": round(before(found), 4), "drop on the test": round(found["test"]["drop"], 4),
        "trials": len(found["budget"]["trials"]), "recipe": recipe["steps"],
    }  # fmt: skip
    holds = conditions["same bytes"] and found["steps"][-1]["measured"]["drop"] <= 0.01
    Answer("a budget of 12 MB and 1 %", size, SIZE, SIZE / size if holds else 0.0, 1.0, conditions).show()


if __name__ == "__main__":
    main()
