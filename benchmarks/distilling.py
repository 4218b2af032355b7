"""How small and fast does a classifier become that keeps 97 % of its teacher?

`python -m benchmarks.distilling [--epochs 3] [--heal 6] [--folder DIR]`. all-MiniLM-L6-v2 fine-tuned on SST-2 is pruned
to three layers and half of their units, with a vocabulary of what SST-2 has, and learns from its teacher; then codes of
eight bits. Times are of one row of 128 tokens on one thread against the original in eager float32, in turns.
The bars: 97 % of the teacher's accuracy at four times its speed; with codes at ten times, and a tenth of the file.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.answer import Answer
from benchmarks.compressing import before, classifier, compressed, faster, smaller, value

KEPT = 0.97


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--heal", type=float, default=6.0)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--units", type=float, default=0.5)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    start = classifier(asked.folder or Path(tempfile.mkdtemp()), asked.epochs)
    steps: list[dict[str, Any]] = [
        {"kind": "prune", "part": "vocabulary", "share": 0.01},
        {"kind": "prune", "part": "layers", "keep": asked.layers},
        {"kind": "prune", "part": "units", "share": asked.units},
        {"kind": "distil", "logits": 1.0, "answers": 0.3, "hidden": 0.3, "train": {"epochs": asked.heal, "lr": 2e-4}},
    ]
    small = compressed(start, "sst2-distilled", steps=steps)
    coded = compressed(start, "sst2-coded", steps=[*steps, {"kind": "quantize", "coding": "int8"}])
    for question, found, bar in (("pruned and distilled", small, 4.0), ("and int8", coded, 10.0)):
        kept = value(found) / before(found)
        conditions = {"kept": round(kept, 4), "accuracy": round(value(found), 4), "teacher": round(before(found), 4),
                      "smaller": round(smaller(found), 2), "heal": asked.heal}  # fmt: skip
        speed = faster(found) if kept >= KEPT else 0.0
        Answer(f"times as fast at 97 % of the teacher: {question}", faster(found), 1.0, speed, bar, conditions).show()


if __name__ == "__main__":
    main()
