"""danlu on SST-2: `danlu_sst2.py START EXAMPLES EPOCHS|- SEED`, with the rows of trainer_sst2.py. `-`: its own choice.

Training is timed from the first step to the end of the last, inference from texts to labels; files are read, rows
tokenised and models loaded before, as they are for the Trainer (which tokenises the test rows within its time, too).
"""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

import danlu
from benchmarks.answer import SHARED

start, count, epochs, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
data = SHARED / "data/sst2"
head, *lines = (data / "train.tsv").read_text(encoding="utf8").splitlines()
random.Random(0).shuffle(lines)
test = [line.split("\t", 1) for line in (data / "test.tsv").read_text(encoding="utf8").splitlines()[1:]]

with tempfile.TemporaryDirectory() as place:
    folder = Path(place)
    (folder / "train.tsv").write_text("\n".join([head, *lines[:count]]) + "\n", encoding="utf8")
    timed = {} if epochs == "-" else {"epochs": float(epochs), "evaluate_every": 100_000, "save_every": 100_000}
    files = [folder / "train.tsv", data / "dev.tsv", data / "test.tsv"]
    run = danlu.finetune(start, files, quiet=True, output=folder / "run", train=timed, seed=seed)
    last = run.history.steps[-1]
    passes = run.config["train"]["epochs"]
    model = danlu.load(run)
    model.classify([text for _, text in test[:64]])
    begun = time.perf_counter()
    replies = model.classify([text for _, text in test])
    seconds = time.perf_counter() - begun

right = sum(reply.value == label for reply, (label, _) in zip(replies, test, strict=True))
row = {
    "train_per_second": round(min(count, len(lines)) * passes / last["seconds"], 1),
    "infer_per_second": round(len(test) / seconds, 1),
    "accuracy": round(right / len(test), 4),
    "epochs": passes,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "threads": torch.get_num_threads(),
}
print(json.dumps(row))
