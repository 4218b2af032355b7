"""What every benchmark has in common: one question, ours and theirs in turn, one JSON object as the last line."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent  # what is measured is the checkout that this file belongs to
SHARED = ROOT.parent / "shared"


@dataclass(frozen=True)
class Answer:
    """ours and theirs in one unit; ratio says how many times better ours is; bar is the least ratio hoped for."""

    question: str
    ours: float
    theirs: float
    ratio: float
    bar: float
    conditions: Mapping[str, Any]

    def show(self) -> None:
        row = {
            "question": self.question, "ours": round(self.ours, 4), "theirs": round(self.theirs, 4),
            "ratio": round(self.ratio, 3), "bar": self.bar, "holds": self.ratio >= self.bar,
            "conditions": {**machine(), **self.conditions},
        }  # fmt: skip
        print(json.dumps(row, ensure_ascii=False), flush=True)


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"cpu": model.partition(":")[2].strip() or platform.processor(), "cores": os.cpu_count()}


def worker(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run one worker process and read the JSON object on its last line."""
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")
    row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  {' '.join(arguments[1:])}: {row}", file=sys.stderr, flush=True)
    return row


def interleaved(workers: Mapping[str, Sequence[str]], rounds: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Each worker once a round, in turn, so that a slow minute of the machine falls on all of them."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, arguments in workers.items():
            rows[name].append(worker(arguments, folder))
    return rows


def median(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(statistics.median(row[key] for row in rows))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
