"""Lines that survive a torn end, a lost file and a full disk."""

import json
import math
import os
from pathlib import Path

import pytest

from danlu import files
from danlu.train.log import Journal, Metrics, read_lines, untimed


def filled(path: Path, count: int) -> Metrics:
    metrics = Metrics(path)
    metrics.take_up(0, 0)
    for step in range(1, count + 1):
        metrics.add({"step": step, "loss": 1 / step})
    return metrics


def steps(path: Path) -> list[int]:
    return [line["step"] for line in read_lines(path)]


def test_takes_up_where_the_checkpoint_was(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    size = filled(path, 3).size
    assert size == path.stat().st_size
    metrics = filled(path, 6)
    metrics.take_up(3, size)
    metrics.add({"step": 4})
    assert steps(path) == [1, 2, 3, 4]
    assert metrics.size == path.stat().st_size


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    size = filled(path, 3).size
    os.truncate(path, size - cut)
    assert steps(path) == [1, 2]
    metrics = Metrics(path)
    metrics.take_up(3, size)  # shorter than the checkpoint says: the steps decide
    metrics.add({"step": 4})
    assert steps(path) == [1, 2, 4]


def test_an_edited_file_is_cut_by_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    size = filled(path, 3).size
    filled(path, 5)
    path.write_text("{}\n" + path.read_text())
    metrics = Metrics(path)
    metrics.take_up(3, size)
    assert steps(path) == [1, 2, 3]


def test_a_full_disk_delays_lines_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = filled(path, 2)

    def full(point: str) -> None:
        if point == "before line":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "reached", full)
    metrics.add({"step": 3})
    metrics.add({"step": 4})
    assert steps(path) == [1, 2]
    with pytest.raises(OSError, match="No space"):
        metrics.sync()
    monkeypatch.undo()
    metrics.add({"step": 5})
    assert steps(path) == [1, 2, 3, 4, 5]
    assert metrics.size == path.stat().st_size


def test_numbers_json_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = filled(path, 0)
    metrics.add({"step": 1, "loss": math.nan, "evaluation": {"loss": math.inf}})
    assert read_lines(path) == [{"step": 1, "loss": None, "evaluation": {"loss": None}}]


def test_floats_come_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    filled(path, 50)
    assert [line["loss"] for line in read_lines(path)] == [1 / step for step in range(1, 51)]


def test_untimed() -> None:
    assert untimed({"step": 1, "seconds": 2.0, "tokens_per_second": 3.0}) == {"step": 1}


def test_the_journal_only_grows_and_never_stops_anybody(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.note("started", folder=tmp_path)
    journal.note("left", signal="SIGTERM")
    events = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "left"]
    Journal(tmp_path / "no such folder" / "journal.jsonl").note("started")
