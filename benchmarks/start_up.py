"""How long does `danlu --help` take, and does it import torch?"""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.answer import Answer

BAR_SECONDS = 0.3
COMMAND = Path(sys.executable).with_name("danlu")


def main() -> None:
    times = []
    for _ in range(15):
        start = time.perf_counter()
        subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    trace = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "danlu", "--help"], check=True, capture_output=True, text=True
    )
    heavy = [name for name in ("torch", "numpy", "pydantic") if f" {name}\n" in trace.stderr]
    took = sorted(times)[len(times) // 2]
    conditions = {"runs": len(times), "heavy_imports": heavy}
    Answer("danlu --help, seconds (median)", took, BAR_SECONDS, BAR_SECONDS / took, 1.0, conditions).show()


if __name__ == "__main__":
    main()
