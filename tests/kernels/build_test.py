"""Installing: with a compiler kernels are built, without one danlu installs all the same, and says so."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from danlu.kernels.library import Native

ROOT = Path(__file__).parents[2]
pytest.importorskip("hatchling", reason="hatchling is there while danlu is installed, not afterwards")


def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str | None
) -> tuple[Path, dict[str, Any], list[str]]:
    module = hook()
    room = tmp_path / module.ROOM
    shutil.copytree(ROOT / module.ROOM / "native", room / "native")
    monkeypatch.setattr(module.shutil, "which", lambda _: compiler)
    monkeypatch.setattr(module, "FLAGS", ("-O0", *module.FLAGS[1:]))  # a tenth of the time
    said: list[str] = []
    made = module.Kernels(
        str(tmp_path), {}, None, SimpleNamespace(), "", "wheel", SimpleNamespace(display_warning=said.append)
    )
    data: dict[str, Any] = {"artifacts": []}
    made.initialize("standard", data)
    return room / module.LIBRARY, data, said


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_compiler_makes_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, data, said = install(tmp_path, monkeypatch, shutil.which("cc"))
    assert not said
    assert data["artifacts"] == ["src/danlu/kernels/danlu_native.so"]
    assert data["infer_tag"]
    assert "portable" in Native(library).paths


def test_no_compiler_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, data, said = install(tmp_path, monkeypatch, None)
    assert not library.exists()
    assert not data["artifacts"]
    assert "no C compiler" in said[0]


def test_a_failing_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, _, said = install(tmp_path, monkeypatch, shutil.which("false"))
    assert not library.exists()
    assert "failed" in said[0]
