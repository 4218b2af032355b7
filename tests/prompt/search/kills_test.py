"""A search that is killed again and again ends with the same ledger and the same winner as one that is not."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from planted import PROBLEMS, ROWS

from danlu import files
from danlu.prompt.search import ledger as ledgers
from danlu.prompt.search.harness import Budget, Halving, Search
from danlu.prompt.search.ledger import Ledger

KILLS, TOKENS = 20, 2400


def carried_out(name: str, path: Path) -> Any:
    """The whole search; one of its answers comes from a model."""
    problem = PROBLEMS[name](3)
    halving = Halving(first=0) if name == "vectors" else Halving()
    search = Search(problem.score, ROWS, Ledger(path, {"name": name}), repr, Budget(tokens=TOKENS), halving)
    search.answer("what", lambda: ("that", 10))
    found = search.run(problem.ours(), problem.hand)
    search.ledger.note(winner=repr(found.best))
    return found


def killed_at(point: int, work: Callable[[], object]) -> bool:
    """Do the work in a process of its own that dies at this point of it; whether it died."""
    child = os.fork()
    if child == 0:
        passed = 0

        def reached(_: str) -> None:
            nonlocal passed
            passed += 1
            if passed == point:
                os.kill(os.getpid(), signal.SIGKILL)

        ledgers.reached = files.reached = reached
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("name", PROBLEMS)
def test_twenty_kills(name: str, tmp_path: Path, full: bool) -> None:
    if not full and name not in ("edits", "vectors", "demonstrations"):
        pytest.skip("the others with --full")
    whole = carried_out(name, tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().count(b"\n")
    chance, path = Random(name), tmp_path / "killed"
    for _ in range(KILLS):
        assert killed_at(chance.randint(1, max(2, 2 * lines // KILLS)), lambda: carried_out(name, path))
        with path.open("ab") as file:  # what a disk may have kept of a line that was being written
            file.write(b'{"candidate": "ab'[: chance.randint(0, 17)])
    again = carried_out(name, path)
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()
    assert again == whole
