"""One trainer a folder; a dead one's lock is no obstacle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from danlu.errors import DanluError
from danlu.train.signals import identity, locked


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(DanluError, match="E1609") as caught, locked(tmp_path):
            pass
        assert str(os.getpid()) in caught.value.render("en")
    with locked(tmp_path):
        pass
    assert not (tmp_path / "lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / "lock").write_text(json.dumps({"pid": process.pid, "start": "1"}))
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_a_later_process_of_the_same_number_is_another(tmp_path: Path) -> None:
    mine = identity(os.getpid())
    assert mine is not None
    (tmp_path / "lock").write_text(json.dumps(mine | {"start": "1"}))
    with locked(tmp_path):
        pass
    (tmp_path / "lock").write_text(json.dumps(mine | {"boot": "another"}))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_damaged_lock_is_no_lock(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    with locked(tmp_path):
        pass


def test_a_zombie_is_dead() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert identity(child) is None
    os.waitpid(child, 0)
