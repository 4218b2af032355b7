"""A tower and a tokenizer that fit in a thimble, and rows to teach them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.tasks.framing import Framing
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

WORDS = (
    "good",
    "bad",
    "fine",
    "poor",
    "great",
    "awful",
    "film",
    "book",
    "meal",
    "room",
    "Paris",
    "London",
    "Anna",
    "Tom",
)
SIZES = {"width": 32, "depth": 2, "heads": 2, "length": 64}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    torch.set_num_threads(1)


def sentences() -> Iterator[str]:
    for a in WORDS:
        for b in WORDS:
            yield f"The {a} {b} was very {b}, and I liked the {a} one. 这家酒店很好，房间干净。服务很差！"


def made(name: str, folder: Path) -> Path:
    """A saved tower that has learnt nothing, with a tokenizer of its own."""
    family, _ = fresh(f"{name}-tiny")
    settings = TokenizerSettings(kind=family.tokenizer, vocabulary=400)
    tokenizer = train_tokenizer(sentences(), settings, family.specials, Voice(quiet=True), extra=family.extra_tokens)
    family, config = fresh(f"{name}-tiny", tokenizer.vocabulary, **SIZES)
    Checkpoint(family, config, build(config, "cpu", 0), tokenizer).save(folder)
    return folder


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tower of any family; made once."""
    place = tmp_path_factory.mktemp("towers")

    def find(name: str) -> Path:
        return place / name if (place / name).exists() else made(name, place / name)

    return find


@pytest.fixture
def framing(tower: Callable[[str], Path]) -> Callable[..., Framing]:
    def make(name: str = "bert", length: int = 64) -> Framing:
        return Framing(Tokenizer.read(tower(name)), length, name == "bert")

    return make


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """120 rows that can be learnt: text, stars."""
    path = tmp_path / "reviews.csv"
    rows = []
    for number in range(120):
        word = WORDS[number % 6]
        rows.append(
            f'"The {WORDS[6 + number % 4]} number {number} was {word}, I said.",{"no" if number % 2 else "yes"}'
        )
    path.write_text("review,stars\n" + "\n".join(rows) + "\n", encoding="utf8")
    return path
