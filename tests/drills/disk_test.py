"""The disk fails, once at each point or for a while: training goes on, nothing is lost, the bits are the same."""

import errno
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import lines_of, outcome

Order = Callable[..., dict[str, Any]]
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
NOT_OF_THE_DISK = {"in step", "after piece", "in evaluation"}


@pytest.fixture(scope="module")
def whole(driver: Order, ground: Path) -> dict[str, Any]:
    folder, record = ground / "whole", ground / "points.json"
    assert driver(folder, record=str(record))["code"] == 0
    points = json.loads(record.read_text())
    return {"outcome": outcome(folder), "of the disk": [i for i, p in enumerate(points) if p not in NOT_OF_THE_DISK]}


def events(folder: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_one_failure_at_each_point(driver: Order, ground: Path, whole: dict[str, Any], full: bool) -> None:
    points = whole["of the disk"]
    chosen = points if full else random.Random(0).sample(points, 15)
    for turn, index in enumerate(chosen):
        folder = ground / f"failure-{index}"
        assert driver(folder, **{"raise": [index], "errno": ERRORS[turn % 3]})["code"] == 0  # 3: a checkpoint was lost
        assert outcome(folder) == whole["outcome"], index
        shutil.rmtree(folder)


@pytest.mark.parametrize("number", ERRORS[:2])
def test_a_full_disk_for_a_while(driver: Order, ground: Path, whole: dict[str, Any], number: int) -> None:
    first = whole["of the disk"][len(whole["of the disk"]) // 3]
    folder = ground / f"while-{number}"
    assert driver(folder, **{"raise": list(range(first, first + 40)), "errno": number})["code"] == 0
    assert outcome(folder) == whole["outcome"]
    assert {"could not save", "saved again"} <= set(events(folder))


def test_a_disk_that_stays_full_ends_the_run_without_loss(driver: Order, ground: Path, whole: dict[str, Any]) -> None:
    first = whole["of the disk"][len(whole["of the disk"]) // 3]
    folder = ground / "for-ever"
    assert driver(folder, **{"raise": list(range(first, 10**5)), "errno": errno.ENOSPC})["code"] == 2
    assert events(folder)[-1] == "could not save"
    assert max(lines_of(folder, "step")) < 30
    assert driver(folder)["code"] == 0  # room was made
    assert outcome(folder) == whole["outcome"]
