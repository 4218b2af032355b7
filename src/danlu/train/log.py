"""What a run writes down as it goes: metrics.jsonl, journal.jsonl, and a mirror for TensorBoard.

metrics.jsonl is the course of training, one line a step. A resumed run takes it up at its checkpoint, so that in the
end it is the file of a run that was never interrupted, but for the fields of `TIMINGS`. journal.jsonl is the course of
the process: started, resumed, left, could not save; it is only ever added to.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from danlu import files
from danlu.errors import DanluError

Line = dict[str, Any]

TIMINGS = frozenset({"seconds", "tokens_per_second"})  # what differs from one machine, or one hour, to the next


def untimed(line: Line) -> Line:
    """A line without what the clock has a part in."""
    return {name: value for name, value in line.items() if name not in TIMINGS}


def read_lines(path: Path) -> list[Line]:
    """Every whole line of a JSON-lines file; a torn last one is left out."""
    if not path.exists():
        return []
    return [json.loads(raw) for raw in _whole(path.read_bytes()).splitlines()]


class Metrics:
    """An append-only file of lines. What the disk does not take waits in memory for the next line."""

    def __init__(self, path: Path, written: bool = True):
        """written: False in a process that does not lead; its lines are not kept."""
        self.path, self.written = path, written
        self.size = 0  # bytes of whole lines, those waiting included
        self.waiting: list[bytes] = []

    def take_up(self, step: int, size: int) -> None:
        """Cut the file back to what a checkpoint vouches for: `size` bytes, lines up to `step`."""
        if not self.written:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        raw = self.path.read_bytes() if self.path.exists() else b""
        kept = raw[:size]
        if len(kept) < size or kept != _whole(kept):  # lost or edited in the meantime: go by the steps themselves
            lines = _whole(raw).splitlines(keepends=True)
            kept = b"".join(line for line in lines if _step(line) <= step)
        if kept != raw:
            files.replace_file(self.path, kept)
        self.size, self.waiting = len(kept), []

    def add(self, line: Mapping[str, Any]) -> None:
        if not self.written:
            return
        raw = json.dumps({name: _finite(value) for name, value in line.items()}, ensure_ascii=False).encode() + b"\n"
        self.size += len(raw)
        self.waiting.append(raw)
        with suppress(OSError):  # said when a checkpoint cannot be saved either; until then nothing is lost
            self.write()

    def write(self) -> None:
        """Write what waits. OSError where the disk does not take it; then the file ends in a whole line."""
        raw = b"".join(self.waiting)
        whole = self.size - len(raw)
        with self.path.open("ab", buffering=0) as file:
            files.reached("before line")
            try:
                if file.tell() > whole:
                    file.truncate(whole)
                if file.write(raw) != len(raw):
                    raise OSError("short write")
            except OSError:
                file.truncate(whole)
                raise
        files.reached("after line")
        self.waiting = []

    def sync(self) -> None:
        """Everything so far is on the disk. OSError where it is not."""
        if not self.written:
            return
        self.write()
        with self.path.open("ab") as file:
            files.reached("before fsync lines")
            os.fsync(file.fileno())
        files.reached("after fsync lines")


class Journal:
    """What happened to the process, with the time of day; best effort, for people."""

    def __init__(self, path: Path, written: bool = True):
        self.path, self.written = path, written

    def note(self, event: str, **facts: Any) -> None:
        if not self.written:
            return
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **facts}
        with suppress(OSError), self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(line, ensure_ascii=False, default=str).encode() + b"\n")


class Board:
    """The numbers of each line, for TensorBoard. E1504 where it is not installed."""

    def __init__(self, folder: Path, step: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DanluError("E1504") from error
        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def add(self, line: Mapping[str, Any]) -> None:
        flat = {**line, **{f"evaluation/{name}": value for name, value in line.get("evaluation", {}).items()}}
        for name, value in flat.items():
            if isinstance(value, (int, float)) and name != "step":
                self.writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        self.writer.close()


def _whole(raw: bytes) -> bytes:
    return raw[: raw.rfind(b"\n") + 1]


def _step(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return value
