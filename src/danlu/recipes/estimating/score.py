"""How well estimates did: predictions beside what runs then took, and what is learnt from that.

An estimate leaves its prediction in the cache under the hash of its settings. When a run of the same settings ends,
both are written into the run's folder (estimate.json) and into the cache (estimates.jsonl). The correction for the next
estimate on this machine is the median of measured / predicted.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from danlu.files import replace_json
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.machine import peak_memory, processor
from danlu.settings import Data

PREDICTIONS, SCORES = "predictions.jsonl", "estimates.jsonl"
REMEMBERED = 30  # runs that a correction is learnt from, the newest ones
WHAT = ("memory", "seconds")


class Score(NamedTuple):
    """One finished run. predicted: before any correction."""

    name: str
    machine: str
    predicted: dict[str, float]
    measured: dict[str, float]


def key(settings: Pretrain) -> str:
    """The same for the same run, wherever it is written to."""
    facts = settings.model_dump(mode="json", exclude={"output", "lang"})
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def this_machine(device: str) -> str:
    """What a correction holds for."""
    cuda = device != "cpu" and torch.cuda.is_available()
    name = torch.cuda.get_device_name() if cuda else processor()
    return f"{name}, {torch.get_num_threads()} threads"


def predict(settings: Pretrain, predicted: Data) -> None:
    """Keep a prediction until its run has ended."""
    _add(settings.data.cache_folder / PREDICTIONS, {"key": key(settings), "predicted": predicted})


def record(run: Path, settings: Pretrain, seconds: float, device: torch.device) -> None:
    """A run has ended: write down what it took, beside what was predicted if anything was."""
    cuda = device.type == "cuda"
    memory = torch.cuda.max_memory_reserved(device) if cuda else peak_memory()
    measured = {"memory": float(memory), "seconds": seconds}
    folder, wanted = settings.data.cache_folder, key(settings)
    found = [line["predicted"] for line in _lines(folder / PREDICTIONS) if line.get("key") == wanted]
    replace_json(run / "estimate.json", {"predicted": found[-1] if found else None, "measured": measured})
    if found:
        machine = this_machine(settings.device)
        facts = {"name": str(run), "machine": machine, "predicted": found[-1], "measured": measured}
        _add(folder / SCORES, facts | {"time": time.strftime("%Y-%m-%d %H:%M:%S")})


def scores(cache: Path) -> list[Score]:
    """Every run that was estimated before, oldest first."""
    return [
        Score(line["name"], line["machine"], line["predicted"], line["measured"])
        for line in _lines(cache / SCORES)
        if {"name", "machine", "predicted", "measured"} <= line.keys()
    ]


def correction(found: Iterable[Score], what: str, machine: str) -> float:
    """What to multiply a prediction by: the median of measured / predicted on this machine; 1 without any run."""
    here = [score for score in found if score.machine == machine][-REMEMBERED:]
    return median(score.measured[what] / max(1e-9, score.predicted[what]) for score in here) if here else 1.0


def judged(found: Sequence[Score]) -> list[dict[str, Any]]:
    """Each run with its errors, as shares: as predicted, and as corrected by the runs before it."""
    rows = []
    for number, score in enumerate(found):
        row: dict[str, Any] = {"name": score.name}
        for what in WHAT:
            raw, truth = score.predicted[what], score.measured[what]
            better = raw * correction(found[:number], what, score.machine)
            row[what] = {"predicted": raw, "corrected": better, "measured": truth,
                         "error": raw / truth - 1, "corrected_error": better / truth - 1}  # fmt: skip
        rows.append(row)
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        raw = path.read_text(encoding="utf8").splitlines()
    except OSError:
        return []
    found = []
    for line in raw:
        try:
            data = json.loads(line)
        except ValueError:  # torn by a crash
            continue
        if isinstance(data, dict):
            found.append(data)
    return found


def _add(path: Path, line: Data) -> None:
    """One line more; several processes may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = json.dumps({name: _finite(value) for name, value in line.items()}, ensure_ascii=False).encode() + b"\n"
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, raw)
    finally:
        os.close(handle)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
