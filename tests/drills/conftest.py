"""Folders that are quick to flush, and a process to be killed."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class Driver:
    """Sends orders to driver.py; an answer holds the child's exit `code` and its `seconds`."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("driver.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, folder: Path, **order: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"folder": str(folder), **order}), file=self.process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


@pytest.fixture(scope="session")
def ground() -> Iterator[Path]:
    """A folder in memory where there is one: kills and flips are the same there, flushing takes no time."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="danlu-drill-", dir=shm if shm.is_dir() else None))
    yield folder
    shutil.rmtree(folder)
