"""The verb: what it writes, what it says, what it refuses."""

import json
from pathlib import Path

import pytest

from danlu.checkpoint import Checkpoint
from danlu.cli import main
from danlu.models.build import build
from danlu.models.families import FAMILIES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = FAMILIES["llama"].make(**{**FAMILIES["llama"].sizes["tiny"], "vocabulary": 96, "width": 64, "heads": 4})
    return Checkpoint(FAMILIES["llama"], config, build(config, seed=1).eval()).save(tmp_path / "model")


@pytest.mark.parametrize(("name", "more"), [("gguf", "type=q4_0"), ("gptq", "group=32")])
def test_files_and_facts(
    name: str, more: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    out = tmp_path / "out"
    assert main(["export", str(folder), name, more, f"output={out}", "--json", "lang=en"]) == 0
    said = capsys.readouterr()
    row = json.loads(said.out.strip().splitlines()[-1])
    assert row["metrics"]["coded"] >= 2 * 7
    assert row["metrics"]["difference"] < 0.5
    assert all(Path(file).is_file() for file in row["files"])
    assert "matrices as codes" in said.err
    assert main(["export", str(folder), name, f"output={out}"]) == 2


def test_a_format_there_is_none_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder), "ggfu", "lang=en"]) == 2
    assert "E1006" in (said := capsys.readouterr().err)
    assert "gguf" in said
