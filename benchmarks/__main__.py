"""Every question in turn: `python -m benchmarks` (an hour or so on two cores), or `python -m benchmarks NAME ...`."""

import subprocess
import sys
from pathlib import Path

QUESTIONS = (
    "training_speed",
    "time_to_loss",
    "tokenize_pack",
    "minimal_pairs",
    "start_up",
    "estimate",
    "int4_linear",
    "int8_encoder",
    "decoding",
    "gptq_cost",
)


def main() -> None:
    for name in sys.argv[1:] or QUESTIONS:
        print(f"== {name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=Path(__file__).parent.parent, check=False)


if __name__ == "__main__":
    main()
