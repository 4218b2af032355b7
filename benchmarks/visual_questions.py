"""Does a model that sees, trained from nothing, answer questions about pictures, and does it look?

`python -m benchmarks.visual_questions [--minutes 35] [--start palm-vision-mini]`. easy_vqa's 4,000 training pictures
and 38,575 questions; a tenth of the pictures, chosen by their bytes, is what it is measured on. Bar: 90 % (a small CNN
with an LSTM reaches 87.6 on the official test part). Beside it what the model says when shown another picture, and what
the usual answer to each question gets: the two should be close. Ours is the accuracy in per cent, theirs the bar.
"""

import argparse
import tempfile
from pathlib import Path

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.recipes.runs.folder import read_results

BAR = 90.0
QUESTIONS = SHARED / "data" / "easy_vqa" / "train_questions.tsv.gz"
RECIPE = {
    "model.width": 128, "model.head_size": 32, "model.depth": 3, "data.held_out": 0.1, "data.flip": True,
    "train.batch": 32, "train.evaluate_every": 200, "train.save_every": 500,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=35.0)
    parser.add_argument("--steps", type=int, help="instead of minutes, on a machine that does other things as well")
    parser.add_argument("--start", default="palm-vision-mini")
    given = parser.parse_args()
    length = {"train.steps": given.steps} if given.steps else {"train.minutes": given.minutes}
    with tempfile.TemporaryDirectory() as place:
        run = danlu.finetune(given.start, QUESTIONS, output=Path(place) / "run", **length, **RECIPE)
        found = {row["name"]: 100 * row["value"] for row in read_results(run.path) if row["name"] != "loss"}
        metrics = run.metrics
    conditions = {"start": given.start, "steps": metrics["step"], "seconds": metrics["seconds"], **RECIPE, **found}
    Answer("easy_vqa, own tenth by picture", found["accuracy"], BAR, found["accuracy"] / BAR, 1.0, conditions).show()


if __name__ == "__main__":
    main()
