"""A tokenizer that can be checked by eye, and a cache that is thrown away."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from danlu.data.sources import DataSettings
from danlu.voice import Voice


class Letters:
    """One token a byte, behind five special ones."""

    special: ClassVar = {"pad": 0, "start": 1, "separator": 2, "end": 2, "mask": 3, "unknown": 4}
    vocabulary = 5 + 256
    sentinels: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    fingerprint = hashlib.sha256(b"letters").hexdigest()

    def __init__(self) -> None:
        self.seen = 0

    def encode_many(self, texts: list[str]) -> list[list[int]]:
        self.seen += len(texts)
        return [[5 + byte for byte in text.encode()] for text in texts]

    def id(self, token: str) -> int | None:
        return None

    def pieces(self, ids: Sequence[int]) -> list[str]:
        names = {index: f"[{role}]" for role, index in self.special.items()}
        return [names.get(index) or chr(index - 5) for index in ids]

    def text(self, ids: Sequence[int]) -> str:
        return bytes(index - 5 for index in ids if index >= 5).decode()


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def voice() -> Voice:
    return Voice("en", quiet=True)


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., DataSettings]:
    def make(*paths: Path | str, **given: Any) -> DataSettings:
        return DataSettings(paths=tuple(map(str, paths)), cache=tmp_path / "cache", **given)

    return make
