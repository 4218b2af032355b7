"""How much of full fine-tuning does training a part reach?

`python -m benchmarks.adapters [--rows N] [--epochs E] [--seeds 0 1 2] [--kinds full lora ...]`. all-MiniLM-L6-v2 on
SST-2 (../shared/data), measured on its test part: for each kind the share of parameters that train, accuracy with its
interval, seconds, and bytes of the model folder. The last line compares LoRA of at most 1 % with everything.
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

SMALL = {"also": ["classify.output"]}  # the pooler stays as it was learnt
KINDS: dict[str, Any] = {
    "full": None,
    "head": {"kind": "head"},
    "top 2": {"kind": "top", "layers": 2},
    "bitfit": {"kind": "bitfit"},
    "lora": {"kind": "lora", "rank": 4, **SMALL},
    "rslora": {"kind": "lora", "rank": 4, "root": True, **SMALL},
    "lora+": {"kind": "lora", "rank": 4, "ratio": 8, **SMALL},
    "dora": {"kind": "dora", "rank": 4, **SMALL},
    "lora on int8": {"kind": "lora", "rank": 4, "base": "int8", **SMALL},
    "lora on nf4": {"kind": "lora", "rank": 4, "base": "nf4", **SMALL},
    "ia3": {"kind": "ia3", **SMALL},
    "bottleneck": {"kind": "bottleneck", "inner": 16, **SMALL},
    "houlsby": {"kind": "bottleneck", "inner": 8, "places": "both", **SMALL},
    "prefix": {"kind": "prefix", **SMALL},
    "prompt": {"kind": "prompt", **SMALL},
}
MOST, BAR = 0.01, 1.0  # share of parameters; points of accuracy that LoRA may lose
LAST = 1_000_000  # steps between evaluations: there is one, at the end
SST2 = SHARED / "data/sst2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="of the training part; all where not given")
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--lr", type=float, help="instead of each kind's own")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as place:
        files = prepared(Path(place), options.rows)
        for seed in options.seeds:
            for kind in options.kinds:
                row = once(kind, files, Path(place) / f"{kind}-{seed}".replace(" ", "-"), seed, options)
                found.setdefault(kind, []).append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    table(found)
    if {"full", "lora"} <= found.keys():
        full, lora = (100 * statistics.fmean(row["accuracy"] for row in found[kind]) for kind in ("full", "lora"))
        share = found["lora"][0]["share"]
        conditions = {"rows": options.rows, "epochs": options.epochs, "seeds": options.seeds, "share": share,
                      "points lost": round(full - lora, 2), "allowed": BAR}  # fmt: skip
        holds = full - lora <= BAR and share <= MOST
        Answer("LoRA at 1 % of the parameters against all", lora, full, float(holds), 1.0, conditions).show()


def prepared(place: Path, rows: int | None) -> list[Path]:
    """The three parts, the first of them cut."""
    lines = (SST2 / "train.tsv").read_text(encoding="utf8").splitlines(keepends=True)
    (place / "train.tsv").write_text("".join(lines[: None if rows is None else rows + 1]), encoding="utf8")
    return [place / "train.tsv", SST2 / "dev.tsv", SST2 / "test.tsv"]


def once(kind: str, files: list[Path], folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One run: what it trained, how well it does on the test part, how long it took, how much it left."""
    train = {"epochs": options.epochs, "evaluate_every": LAST} | ({"lr": options.lr} if options.lr else {})
    start = time.perf_counter()
    run = danlu.finetune("minilm", files, adapt=KINDS[kind], train=train, seed=seed, output=str(folder), quiet=True)
    seconds = time.perf_counter() - start
    results = json.loads((folder / "evaluation.json").read_text())["results"]
    tested = next(row for row in results if row["name"] == "accuracy" and row["data"] == "test")
    record = json.loads((folder / "model/danlu.json").read_text())
    size = sum(path.stat().st_size for path in (folder / "model").glob("*.safetensors"))
    config = run.config
    return {
        "kind": kind, "seed": seed, "share": record["trained"]["share"], "trains": record["trained"]["trains"],
        "accuracy": tested["value"], "low": tested["low"], "high": tested["high"], "seconds": round(seconds, 1),
        "bytes": size, "lr": config["train"]["lr"],
    }  # fmt: skip


def table(found: dict[str, list[dict[str, Any]]]) -> None:
    """A row a kind, the first seed's interval."""
    print("| kind | trains | accuracy % | 95 % interval | seconds | folder, MB | lr |\n" + "| --- " * 7 + "|")
    for kind, rows in found.items():
        first = rows[0]
        accuracy, seconds = (statistics.fmean(row[name] for row in rows) for name in ("accuracy", "seconds"))
        low, high = 100 * first["low"], 100 * first["high"]
        print(
            f"| {kind} | {first['share']:.2%} | {100 * accuracy:.1f} | {low:.1f} to {high:.1f} | {seconds:.0f} "
            f"| {first['bytes'] / 1e6:.1f} | {first['lr']:g} |"
        )


if __name__ == "__main__":
    main()
