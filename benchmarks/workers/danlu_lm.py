"""danlu on language modelling: `danlu_lm.py masked|causal|documents TEXT STEPS [DROPOUT]`.

The shapes, the vocabularies and the text are those of trainer_lm.py; the run is an ordinary `danlu.pretrain`. Beside
its speed it measures the rate of this machine's bf16 matrix products, in this process: of one large square product, and
of the products of the model's own shapes, one after the other.
"""

import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import danlu
from benchmarks.answer import SHARED

kind, text, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
dropout = float(sys.argv[4]) if len(sys.argv) > 4 else 0.1
masked = kind == "masked"
rows, width, vocabulary = (32, 128, 30_522) if masked else (16, 256, 50_257)
tokenizers = SHARED / "weights/tokenizers"


def tokenizer_folder(folder: Path) -> Path:
    names = {"vocab.txt": "bert_base_uncased_vocab.txt"} if masked else {}
    names = names or {"vocab.json": "gpt2_vocab.json", "merges.txt": "gpt2_merges.txt"}
    folder.mkdir()
    for ours, theirs in names.items():
        shutil.copy(tokenizers / theirs, folder / ours)
    return folder


def rate(work, operations: float) -> float:
    """Operations a second, from the median of the times."""
    times = []
    for _ in range(15):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return operations / statistics.median(times)


def matrix_rates() -> dict[str, float]:
    """Of 2048^3, and of all products of a step, forward and backward, in GFLOP/s; and a step's operations."""
    low = torch.bfloat16
    square = torch.randn(2048, 2048).to(low)
    tokens, asked = rows * width, round(rows * width * (0.15 if masked else 1))
    chunk = min(asked, 2**26 // vocabulary)
    layer = [(1, tokens, 384, 384)] * 4 + [(1, tokens, 384, 1536), (1, tokens, 1536, 384)]
    layer += [(rows * 6, width, 64, width), (rows * 6, width, width, 64)]  # attention: scores, then values
    shapes = 6 * layer + [(1, chunk, 384, vocabulary)] * round(asked / chunk)
    spent = operations = 0.0
    for shape in dict.fromkeys(shapes):
        batch, m, k, n = shape
        x, w, g = (torch.randn(batch, *size).to(low).squeeze(0) for size in ((m, k), (n, k), (m, n)))
        done = 2 * batch * m * k * n
        for product in (lambda x=x, w=w: x @ w.mT, lambda g=g, w=w: g @ w, lambda g=g, x=x: g.mT @ x):
            operations += shapes.count(shape) * done
            spent += shapes.count(shape) * done / rate(product, done)
    together = {"square": rate(lambda: square @ square, 2 * 2048**3) / 1e9, "shapes": operations / spent / 1e9}
    return together | {"operations": operations}


with tempfile.TemporaryDirectory() as place:
    folder = Path(place)
    run = danlu.pretrain(
        "bert-mini" if masked else "gpt2-mini",
        text,
        quiet=True,
        output=folder / "run",
        model={"width": 384, "depth": 6, "heads": 6, "length": 512 if masked else 1024,
               "dropout": dropout, "attention_dropout": dropout},
        tokenizer={"path": str(tokenizer_folder(folder / "tokenizer"))},
        data={"length": width, "cache": str(folder / "cache"),
              "documents": "paragraphs" if kind == "documents" else "file"},
        train={"steps": steps, "batch": rows, "optimizer": "adamw", "lr": 1e-4,
               "evaluate_every": steps + 1, "save_every": steps + 1},
        samples={"count": 0},
    )  # fmt: skip
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
taken = [line for line in lines if "loss" in line and line["step"] > 2]
speed = statistics.median(line["tokens_per_second"] for line in taken)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
row = {"tokens_per_second": round(speed, 1), "step_seconds": round(rows * width / speed, 4), "peak_mb": peak,
       "threads": torch.get_num_threads()}  # fmt: skip
if kind != "documents":
    rates = matrix_rates()
    done = rates["operations"] / row["step_seconds"] / 1e9
    row |= {
        "gflops": round(done, 1),
        "square_gflops": round(rates["square"], 1),
        "share_of_square": round(done / rates["square"], 3),
        "share_of_shapes": round(done / rates["shapes"], 3),
    }
print(json.dumps(row))
