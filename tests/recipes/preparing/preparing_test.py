"""Data prepared in parts, by whom and in which order it may be, is that of one machine."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import danlu
from danlu.data import shards
from danlu.errors import DanluError
from danlu.recipes.preparing.data import data
from danlu.recipes.preparing.prepare import numbers, on_ray
from danlu.recipes.runs.call import Call

Make = Callable[..., Call]
SHAPE = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)


def prepared(make: Make, text: Path, output: str, **settings: Any) -> dict[str, Any]:
    return dict(data(make("prepare", "gpt-tiny", text, output=output, **SHAPE, **settings)).metrics)


def corpus(folder: str) -> dict[str, bytes]:
    kept = [path for path in Path(folder).rglob("*") if path.is_file() and path.suffix in (".safetensors", ".json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def test_parts_in_any_order_leave_the_bytes_of_one_machine(make: Make, text: Path) -> None:
    whole = prepared(make, text, "whole")
    assert whole["tokens"] > 1000
    found = [prepared(make, text, "parts", part=f"{part}/3") for part in (3, 1, 2)]
    total = found[0]["of"]
    assert total > 6
    assert [each["shards"] for each in found] == [total // 3, total // 3 + (total + 2) // 3, total]
    assert corpus("parts") == corpus("whole")
    assert prepared(make, text, "parts", part="1/3")["shards"] == total  # again, at no cost
    assert corpus("parts") == corpus("whole")


def test_a_part_that_was_cut_off_is_finished(make: Make, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(make, text, "whole")
    write, written = shards._write, []

    def dying(*facts: Any) -> str:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(*facts))
        return str(written[-1])

    monkeypatch.setattr(shards, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        prepared(make, text, "parts", part="1/2")
    monkeypatch.setattr(shards, "_write", write)
    for part in ("1/2", "2/2"):
        prepared(make, text, "parts", part=part)
    assert corpus("parts") == corpus("whole")


def test_a_run_finds_what_was_prepared(make: Make, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("2/2", "1/2"):
        prepared(make, text, "parts", part=part)

    def no(*_: object) -> None:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(shards, "_tokenised", no)
    brief = {"train": {"steps": 2, "batch": 4}, "data": {"length": 32, "cache": "parts"}}
    tokenizer = {"tokenizer": {"path": "parts/tokenizer"}, "model": SHAPE["model"], "samples": {"count": 0}}
    assert danlu.pretrain("gpt-tiny", text, quiet=True, output="runs/x", **brief, **tokenizer).state == "finished"


@pytest.mark.parametrize("part", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_no_part(part: str) -> None:
    with pytest.raises(DanluError, match="E2110"):
        numbers(part)
    assert numbers("3/16") == (2, 16)


class FakeRay:
    """Ray's few words, done here and now."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def is_initialized(self) -> bool:
        return False

    def init(self, **_: object) -> None:
        self.said.append("init")

    def shutdown(self) -> None:
        self.said.append("shutdown")

    def remote(self, work: Callable[..., Any]) -> Any:
        return SimpleNamespace(remote=lambda *words: (work, words))

    def get(self, asked: list[Any]) -> list[Any]:
        return [work(*words) for work, words in asked]


def test_on_ray(make: Make, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    prepared(make, text, "whole")
    assert prepared(make, text, "parts", parts=3, engine="ray")["tokens"] > 1000
    assert fake.said == ["init", "shutdown"]
    assert corpus("parts") == corpus("whole")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DanluError, match="E2111"):
        on_ray(numbers, [("1/2",)])
