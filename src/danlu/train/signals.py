"""Leaving in good order, and never two at once."""

import fcntl
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from danlu.errors import DanluError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Leave(Exception):
    """Breaks off what may be broken off, because somebody asked the process to go."""


class Leaving:
    """While entered, a first SIGINT or SIGTERM only sets `asked`; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.asked = ""
        self._may_break = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Leaving":
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Work that need not be finished before leaving: a signal raises `Leave` in the midst of it."""
        self._may_break = True
        try:
            if self.asked:
                raise Leave
            yield
        finally:
            self._may_break = False

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = signal.Signals(number).name
        if self._may_break:
            self._may_break = False
            raise Leave


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second trainer out of a folder. E1609 where one is at work; a dead one's lock is taken over."""
    path = folder / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        if (holder := _holder(path)) and holder == identity(holder["pid"]):
            raise DanluError("E1609", where=folder, pid=holder["pid"])
        path.write_text(json.dumps(identity(os.getpid())))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def identity(pid: int) -> dict[str, Any] | None:
    """What tells a living process from a later one of the same number; None where there is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    facts: dict[str, Any] = {"pid": pid}
    try:
        # The 22nd field is the start time in clock ticks since the boot; the 2nd, in brackets, may hold blanks.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state in "ZX":
            return None
        facts["start"] = rest[18]
        facts["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, IndexError):
        pass
    return facts


def _holder(path: Path) -> dict[str, Any] | None:
    try:
        holder = json.loads(path.read_text())
        return holder if isinstance(holder, dict) and isinstance(holder["pid"], int) else None
    except (OSError, ValueError, KeyError):
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of two processes that look at a folder's lock at the same moment, one goes first."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
