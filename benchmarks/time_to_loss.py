"""How long until tiny Shakespeare's validation loss is 1.88, from the command to the answer, everything counted?

`python -m benchmarks.time_to_loss [--nanogpt CHECKOUT] [--rounds 3]`. Theirs is nanoGPT's own CPU recipe in a checkout
of it, or its plain twin (workers/plain_gpt.py) where none is given: the time until it prints a validation loss of 1.88
or less, or else until its end. Ours is one `danlu pretrain` command until it has ended, tokenizer, evaluations, report
and saved model included; its loss is that of the whole validation part, where theirs is an estimate from 20 batches.
"""

import argparse
import json
import os
import pickle
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.answer import SHARED, Answer

TARGET = 1.88
COMMAND = str(Path(sys.executable).with_name("danlu"))
RECIPE = [
    "model.width=128", "model.depth=4", "model.heads=4", "tokenizer.kind=characters", "data.length=64",
    "data.documents=file", "train.batch=24", "train.steps=170", "train.optimizer=muon", "train.lr=1e-2",
    "train.schedule=linear", "train.evaluate_every=170", "train.save_every=170", "samples.count=0",
]  # fmt: skip
THEIRS = [
    "config/train_shakespeare_char.py", "--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=100",
    "--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=2000",
    "--lr_decay_iters=2000", "--dropout=0.0",
]  # fmt: skip


def divided(folder: Path) -> tuple[Path, Path]:
    """nanoGPT's parts: the first nine tenths, and the rest."""
    text = (SHARED / "data/tinyshakespeare/input.txt").read_text(encoding="utf8")
    cut = int(0.9 * len(text))
    train, validation = folder / "train.txt", folder / "validation.txt"
    train.write_text(text[:cut], encoding="utf8")
    validation.write_text(text[cut:], encoding="utf8")
    return train, validation


def until_target(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Seconds until a printed validation loss reaches the target (or the end), and that loss."""
    start, loss = time.perf_counter(), float("inf")
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"val loss ([\d.]+)", line):
                loss = float(found[1])
                if loss <= TARGET:
                    process.kill()
                    break
    return time.perf_counter() - start, loss


def theirs(checkout: Path | None, folder: Path, parts: tuple[Path, Path]) -> tuple[float, float]:
    if checkout is None:
        worker = Path(__file__).parent / "workers/plain_gpt.py"
        return until_target([sys.executable, str(worker), *map(str, parts)], folder)
    copy = folder / "nanogpt"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git", "out-*"))
    texts = [part.read_text(encoding="utf8") for part in parts]
    letters = {letter: number for number, letter in enumerate(sorted(set("".join(texts))))}
    for name, text in zip(("train", "val"), texts, strict=True):
        np.array([letters[letter] for letter in text], np.uint16).tofile(copy / f"data/shakespeare_char/{name}.bin")
    (copy / "data/shakespeare_char/meta.pkl").write_bytes(pickle.dumps({"vocab_size": len(letters)}))
    took = until_target([sys.executable, "train.py", *THEIRS], copy)
    shutil.rmtree(copy)
    return took


def ours(folder: Path, parts: tuple[Path, Path], family: str, recipe: Sequence[str] = RECIPE) -> tuple[float, float]:
    run, cache = folder / "run", folder / "cache"
    start = time.perf_counter()
    subprocess.run(
        [COMMAND, "pretrain", family, str(parts[0]), f"data.validation={parts[1]}", f"data.cache={cache}",
         f"output={run}", *recipe],
        check=True, capture_output=True, env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    took = time.perf_counter() - start
    results = json.loads((run / "evaluation.json").read_text(encoding="utf8"))
    loss = next(row["value"] for row in results["results"] if row["name"] == "loss")
    shutil.rmtree(run)
    shutil.rmtree(cache)
    return took, loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--family", default="qwen3-mini")
    options = parser.parse_args()
    mine, peer = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parts = divided(folder)
        for _ in range(options.rounds):
            peer.append(theirs(options.nanogpt, folder, parts))
            mine.append(ours(folder, parts, options.family))
            print(f"  theirs {peer[-1]}, ours {mine[-1]}", file=sys.stderr, flush=True)
    seconds = [statistics.median(took for took, _ in rows) for rows in (mine, peer)]
    losses = [[round(loss, 4) for _, loss in rows] for rows in (mine, peer)]
    conditions = {
        "rounds": options.rounds, "target": TARGET, "our_losses": losses[0], "their_losses": losses[1],
        "peer": "nanoGPT checkout" if options.nanogpt else "plain twin", "family": options.family, "recipe": RECIPE,
        "reached": max(losses[0]) <= TARGET,
    }  # fmt: skip
    Answer(
        "seconds to validation loss 1.88, tiny Shakespeare", *seconds, seconds[1] / seconds[0], 2.0, conditions
    ).show()


if __name__ == "__main__":
    main()
