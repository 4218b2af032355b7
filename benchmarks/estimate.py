"""How far is `danlu estimate` from what runs then take on this machine: memory and time, 12 settings?

`python -m benchmarks.estimate [--seconds 15]`: each setting is estimated and then run for about so long, one after the
other. A run before them teaches the first correction; each later one is judged with what the runs before it taught.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.answer import SHARED, Answer
from danlu.models.families import fresh
from danlu.recipes.pretraining.defaults import operations

BAR = {"memory": 0.15, "seconds": 0.25}
SPEED = 1.2e11  # operations a second, for choosing how many steps take about as long as asked
BERT, SHORT = "objective=mlm", "samples.count=0"
SETTINGS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (  # start, rows, length, the rest
    ("gpt-tiny", 32, 128, ()),  # teaches the first correction
    ("gpt-tiny", 32, 128, ("train.optimizer=adamw",)),
    ("gpt-mini", 16, 128, ()),
    ("gpt-mini", 32, 256, ("train.micro=8",)),
    ("llama-mini", 8, 512, ("train.recompute=true",)),
    ("gpt-mini", 16, 128, ("train.precision=float32", "train.optimizer=adamw")),
    ("bert-tiny", 64, 128, (BERT,)),
    ("bert-mini", 32, 128, (BERT, "train.accumulate=2")),
    ("roberta-mini", 16, 256, (SHORT,)),
    ("llama-mini", 16, 128, ()),
    ("t5-mini", 16, 128, ()),
    ("bart-mini", 16, 128, (SHORT,)),
    ("gpt-small", 4, 128, ("train.best=false", SHORT)),
)


def steps(start: str, rows: int, length: int, rest: tuple[str, ...], seconds: float) -> int:
    """About as many as fit into the time."""
    times = 2 if "train.accumulate=2" in rest else 1
    each = operations(fresh(start, 2000)[1]) * rows * length * times
    return max(10, min(400, round(seconds * SPEED / each)))


def call(words: list[str], place: Path) -> dict[str, object]:
    """A verb's last line."""
    environment = os.environ | {"HOME": str(place), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, "-m", "danlu", *words, "--json", "lang=en"], env=environment, cwd=place, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="only the first so many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with gzip.open(SHARED / "data/wikitext2/valid.txt.gz", "rt", encoding="utf8") as source:
            (place / "text.txt").write_text(source.read(1_000_000), encoding="utf8")
        for number, (start, rows, length, rest) in enumerate(SETTINGS[: options.settings]):
            sizes = [f"train.batch={rows}", f"data.length={length}", "tokenizer.vocabulary=2000"]
            words = [
                start,
                "text.txt",
                *sizes,
                *rest,
                f"train.steps={steps(start, rows, length, rest, options.seconds)}",
            ]
            call(["estimate", *words], place)
            call(["pretrain", *words, f"output=runs/{number}-{start}"], place)
            row = call(["estimate", "score"], place)["metrics"]["runs"][-1]  # type: ignore[index]
            said = {what: f"{row[what]['error']:+.1%} -> {row[what]['corrected_error']:+.1%}" for what in BAR}
            print(f"{row['name']}: {said}", file=sys.stderr, flush=True)
        found = call(["estimate", "score"], place)["metrics"]["runs"][1:]  # type: ignore[index]
    for what, bar in BAR.items():
        errors = sorted(abs(row[what]["corrected_error"]) for row in found)
        raw = sorted(abs(row[what]["error"]) for row in found)
        facts = {
            "settings": len(found), "median": round(errors[len(errors) // 2], 3),
            "largest_before_correction": round(raw[-1], 3), "errors": [round(error, 3) for error in errors],
        }  # fmt: skip
        question = f"estimate, largest error of {what} over {len(found)} settings, after the first correction"
        Answer(question, errors[-1], bar, bar / max(1e-9, errors[-1]), 1.0, facts).show()


if __name__ == "__main__":
    main()
