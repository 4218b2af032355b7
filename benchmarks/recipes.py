"""How much more does the modern recipe learn than each paper's in the same steps on the same model and batches?

`python -m benchmarks.recipes [--steps 400] [--recipes bert gpt2 ...] [--text FILE]`. Both train the family of the
paper, size tiny, on the same text, with as many steps of as many tokens for the same objective; the recipe decides
everything else. What counts is the loss on the held-out text, in nats a target.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.recipes.pretraining.presets import MODERN, presets

OBJECTIVE = {"bert": "mlm", "albert": "mlm"}  # pairs of texts are another question


def held_out_loss(name: str, recipe: str, text: Path, folder: Path, steps: int, **train: Any) -> float:
    """Of a run of the family that recipe `name` is for, trained by `recipe`."""
    preset = presets()[name]
    objective = OBJECTIVE.get(name, next(iter(preset.settings["objective"])))
    run = danlu.pretrain(
        f"{preset.families[0]}-tiny", text, recipe=recipe, objective=objective, quiet=True,
        output=folder / f"{name}-{recipe}", samples={"count": 0}, tokenizer={"vocabulary": 2000},
        data={"length": 64, "cache": str(folder / "cache")},
        train={"steps": steps, "batch": 32, "evaluate_every": steps, "save_every": steps, **train},
    )  # fmt: skip
    rows = json.loads((run.path / "evaluation.json").read_text(encoding="utf8"))["results"]
    return float(next(row["value"] for row in rows if row["name"] == "loss"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--recipes", nargs="*", default=[name for name in presets() if name != MODERN])
    parser.add_argument("--text", type=Path, default=SHARED / "data/tinyshakespeare/input.txt")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        for name in options.recipes:
            losses = [
                held_out_loss(name, recipe, options.text, Path(place), options.steps) for recipe in (name, MODERN)
            ]
            rows[name] = [round(loss, 4) for loss in losses]
            print(f"  {name}: paper {losses[0]:.4f}, modern {losses[1]:.4f}", file=sys.stderr, flush=True)
    gains = [theirs - ours for theirs, ours in rows.values()]
    worst = min(gains)
    conditions = {"steps": options.steps, "losses of paper and modern": rows, "text": options.text.name}
    question = "the least gain of the modern recipe over a paper's, nats of held-out loss"
    Answer(question, worst, 0.0, 1.0 + worst, 1.0, conditions).show()


if __name__ == "__main__":
    main()
