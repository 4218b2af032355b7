from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu
from danlu.recipes.runs.call import Call, nested
from danlu.recipes.runs.folder import Run
from danlu.voice import Voice

BRIEF = {"train": {"steps": 6, "batch": 4, "save_every": 2, "evaluate_every": 3}, "data": {"length": 32}}
SMALL = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and caches of a test stay in its own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A small file of sentences."""
    animals, deeds = ("cat", "dog", "bird", "fish", "horse"), ("sleeps", "eats", "runs", "sings", "waits", "looks")
    places = ("in the house", "under the tree", "by the river", "on the hill")
    lines = [
        f"The {a} {d} {p}, and then the {b} {d} too." for a in animals for b in animals for d in deeds for p in places
    ]
    path = tmp_path / "story.txt"
    path.write_text("\n".join(lines), encoding="utf8")
    return path


def quiet(*words: str, **settings: Any) -> Call:
    return Call(tuple(map(str, words)), nested(settings), Voice("en", quiet=True))


@pytest.fixture
def make() -> Callable[..., Call]:
    return quiet


@pytest.fixture
def trained(text: Path) -> Run:
    """A finished run of a GPT that fits in a thimble."""
    return danlu.pretrain(
        "gpt-tiny", text, quiet=True, output="runs/gpt", samples={"count": 1, "tokens": 4}, **BRIEF, **SMALL
    )
