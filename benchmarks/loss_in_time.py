"""Which validation loss on tiny Shakespeare do we reach in the time that nanoGPT needs to 1.88, everything counted?

`python -m benchmarks.loss_in_time [--nanogpt CHECKOUT] [--rounds 3] [--steps 1500]`. Theirs is timed as in
time_to_loss. Ours is one `danlu pretrain recipe=modern` command until it has ended, of a number of steps that was fixed
beforehand: the loss is the same whenever it runs, and only its seconds are measured. Loss of the whole validation part.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.answer import Answer
from benchmarks.time_to_loss import divided, ours, theirs

BAR = 1.65
STEPS = 1500
SHAPE = [
    "recipe=modern", "model.width=128", "model.depth=4", "model.heads=4", "tokenizer.kind=characters", "data.length=64",
    "data.documents=file", "model.dropout=0", "train.batch=24", "train.lr=7e-3", "samples.count=0",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--family", default="qwen3-mini")
    options = parser.parse_args()
    course = [f"train.{name}={options.steps}" for name in ("steps", "evaluate_every", "save_every")]
    mine, peer = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parts = divided(folder)
        for _ in range(options.rounds):
            peer.append(theirs(options.nanogpt, folder, parts))
            mine.append(ours(folder, parts, options.family, [*SHAPE, *course]))
            print(f"  theirs {peer[-1]}, ours {mine[-1]}", file=sys.stderr, flush=True)
    seconds = [statistics.median(took for took, _ in rows) for rows in (mine, peer)]
    losses = [max(loss for _, loss in rows) for rows in (mine, peer)]
    conditions = {
        "rounds": options.rounds, "bar": BAR, "our_loss": round(losses[0], 4), "their_loss": round(losses[1], 4),
        "reached": losses[0] <= BAR, "steps": options.steps, "recipe": SHAPE, "family": options.family,
        "peer": "nanoGPT checkout" if options.nanogpt else "plain twin",
    }  # fmt: skip
    question = "seconds to the modern recipe's loss, against nanoGPT's to 1.88, tiny Shakespeare"
    Answer(question, *seconds, seconds[1] / seconds[0], 1.0, conditions).show()


if __name__ == "__main__":
    main()
