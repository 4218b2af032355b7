"""SIGKILL at every point that matters and at any instant; then the same command again: the same bits."""

import json
import random
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import outcome

Order = Callable[..., dict[str, Any]]
KILLED = -signal.SIGKILL


RUNS = {
    "tiny": {},
    "tiny, muon": {"optimizer": "muon"},
    "gpt2": {"model": "gpt2-tiny", "precision": "bf16"},
    "bert": {"model": "bert-tiny", "optimizer": "muon"},
    "fine-tuning": {"model": "classifier", "precision": "bf16"},
    "fine-tuning, lora": {"model": "classifier", "adapt": "lora"},
}


@pytest.fixture(scope="module", params=RUNS)
def whole(request: pytest.FixtureRequest, driver: Order, ground: Path) -> dict[str, Any]:
    """An uninterrupted run: its settings, outcome, points and duration."""
    settings, record = RUNS[request.param], ground / "points.json"
    folder = ground / request.param
    answer = driver(folder, record=str(record), **settings)
    assert answer["code"] == 0
    found = {"settings": settings, "outcome": outcome(folder), "points": json.loads(record.read_text())}
    return found | {"kept": kept(folder), "seconds": answer["seconds"], "name": request.param}


def kept(folder: Path) -> list[str]:
    """Every name in the run folder and among its checkpoints: nothing half-made may be left."""
    return sorted(path.name for path in [*folder.iterdir(), *(folder / "checkpoints").iterdir()])


def kinds(points: list[str]) -> dict[str, list[int]]:
    """Points that differ by more than a step's number, and where they were reached."""
    found: dict[str, list[int]] = {}
    for index, point in enumerate(points):
        found.setdefault(re.sub(r"\d+", "N", point), []).append(index)
    return found


def finish(driver: Order, folder: Path, whole: dict[str, Any]) -> None:
    """Train to the end, compare every bit, clean up."""
    assert driver(folder, **whole["settings"])["code"] == 0
    assert outcome(folder) == whole["outcome"]
    assert kept(folder) == whole["kept"]
    shutil.rmtree(folder)


def test_killed_at_each_point(driver: Order, ground: Path, whole: dict[str, Any], full: bool) -> None:
    places = kinds(whole["points"])
    assert len(places) > 25, places
    chosen = [index for hits in places.values() for index in {hits[0], hits[len(hits) // 2], hits[-1]}]
    if not full:
        chosen = [random.Random(index).choice(hits) for index, hits in enumerate(places.values())][:: len(places) // 2]
    for index in chosen:
        folder = ground / f"point-{index}"
        assert driver(folder, kill=index, **whole["settings"])["code"] == KILLED
        finish(driver, folder, whole)


def test_killed_at_any_instant(driver: Order, ground: Path, whole: dict[str, Any], full: bool) -> None:
    chance = random.Random(whole["name"])
    wanted, killed, latest = 50 if full else 2, 0, whole["seconds"]
    for _ in range(10 * wanted):
        if killed == wanted:
            break
        folder = ground / f"instant-{killed}"
        answer = driver(folder, after=chance.uniform(0, latest), **whole["settings"])
        killed += answer["code"] == KILLED
        if answer["code"] != KILLED:  # it was faster
            latest = min(latest, answer["seconds"])
        finish(driver, folder, whole)
    assert killed == wanted


def test_killed_again_and_again(driver: Order, ground: Path, whole: dict[str, Any], full: bool) -> None:
    """Also while it recovers from the last time."""
    chance = random.Random(f"again {whole['name']}")
    for index in range(15 if full else 1):
        folder = ground / f"again-{index}"
        for _ in range(6):
            driver(folder, kill=chance.randrange(len(whole["points"]) // 3), **whole["settings"])
        finish(driver, folder, whole)
