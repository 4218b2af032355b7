"""What does half of the weights cost a GPT, and how much of it does healing bring back?

`python -m benchmarks.pruning [--steps 2000] [--heal 400] [--folder DIR]`. A GPT trained here loses half of the weights
in its blocks by magnitude, Wanda and SparseGPT, without training; the last is healed with frozen zeros. The
bar: perplexity at most 15 % above the dense model's after healing, and both methods far ahead of magnitude.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.answer import Answer
from benchmarks.compressing import before, compressed, gpt, value

BAR = 1.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--heal", type=int, default=400)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp())
    start = gpt(folder, asked.steps)
    found = {}
    for method in ("magnitude", "wanda", "sparsegpt"):
        step = {"kind": "prune", "method": method, "share": 0.5}
        found[method] = compressed(start, f"gpt-{method}", steps=[step])
    heal = {"kind": "distil", "logits": 0.5, "answers": 0.5, "train": {"steps": asked.heal, "lr": 5e-4}}
    found["healed"] = compressed(start, "gpt-healed", steps=[{"kind": "prune", "share": 0.5}, heal])
    dense = before(found["healed"])
    lost = {name: value(each) / dense - 1 for name, each in found.items()}
    conditions = {"dense": round(dense, 2), "lost": {name: round(each, 4) for name, each in lost.items()},
                  "steps": asked.steps, "heal": asked.heal}  # fmt: skip
    ours = value(found["healed"]) / dense
    Answer("perplexity with half of the weights, healed", ours, BAR, BAR / ours, 1.0, conditions).show()


if __name__ == "__main__":
    main()
