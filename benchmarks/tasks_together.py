"""Do two related tasks help each other? Paraphrases (MRPC) and entailment (SICK), learnt apart and on one tower.

`python -m benchmarks.tasks_together [--balance fixed uncertainty ...] [--seed N] [--settings train.epochs=3 ...]`.
all-MiniLM-L6-v2; accuracy on the test parts, row by row against the model that learnt the task alone, with intervals.
The last line holds the better of the two gaps' worse: negative where something was lost.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.evaluate.judge import compared
from danlu.evaluate.predictions import FILE, read_predictions
from danlu.tasks.metrics import METRICS

DATA = SHARED / "data"
TASKS: dict[str, dict[str, Any]] = {
    "mrpc": {"paths": [str(DATA / f"mrpc/{part}.tsv") for part in ("train", "dev", "test")]},
    "sick": {"paths": [str(DATA / "sick")], "columns": {"label": "entailment_judgment"}},
}
BALANCES = ("fixed", "uncertainty", "pace", "norms", "surgery")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--balance", nargs="+", choices=BALANCES, default=["fixed"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", nargs="*", default=[], help="train.epochs=3 ...")
    options = parser.parse_args()
    more = dict(each.split("=", 1) for each in options.settings) | {"seed": options.seed, "quiet": True}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        alone = {task: danlu.finetune("minilm", data["paths"], task="classify", output=place / task,
                                      **{"data.columns": data.get("columns", {})} | more)
                 for task, data in TASKS.items()}  # fmt: skip
        gaps: dict[str, dict[str, Any]] = {}
        for balance in options.balance:
            tasks = {task: {"task": "classify", "data": data} for task, data in TASKS.items()}
            run = danlu.call("finetune", "minilm", tasks=tasks, balance=balance, output=place / balance, **more).run
            assert run
            gaps[balance] = {task: against(alone[task].path / FILE, run, task) for task in TASKS}
            print(json.dumps({balance: gaps[balance]}), file=sys.stderr, flush=True)
    least = {balance: min(each["gap"] for each in found.values()) for balance, found in gaps.items()}
    best = max(least, key=least.__getitem__)
    conditions = {"best": best, "gaps": gaps, "seed": options.seed}
    Answer("two tasks together against apart", 1 + least[best], 1.0, 1 + least[best], 0.99, conditions).show()


def against(apart: Path, run: Path, task: str) -> dict[str, Any]:
    """The accuracy alone, how much it differs together, and what is to be thought of that."""
    first, second = read_predictions(apart), read_predictions(run / f"predictions-{task}-test.jsonl")
    found = compared([METRICS["accuracy"]], first, second)["accuracy"]
    alone = sum(each.right for each in first) / len(first)
    gap = found.difference
    return {"alone": round(alone, 4), "gap": round(gap.value, 4), "low": round(gap.low, 4), "high": round(gap.high, 4),
            "verdict": found.verdict}  # fmt: skip


if __name__ == "__main__":
    main()
