"""Files are whole or not there, wherever the power is cut."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from danlu import files


class PowerCut(BaseException):
    """Ends the process, as far as a test can tell."""


def points(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every instant the work passes."""
    seen: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(files, "reached", seen.append)
        work()
    return seen


def cut_at(number: int, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the work up to instant `number`."""
    left = [number]

    def reached(point: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise PowerCut(point)

    with monkeypatch.context() as patch:
        patch.setattr(files, "reached", reached)
        with pytest.raises(PowerCut):
            work()


def test_a_replaced_file_is_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text('"old"')
    count = len(points(lambda: files.replace_json(path, "new"), monkeypatch))
    assert count >= 6
    for number in range(count):
        path.write_text('"old"')
        cut_at(number, lambda: files.replace_json(path, "new"), monkeypatch)
        assert json.loads(path.read_text()) in ("old", "new")
    files.replace_json(path, {"字": 1.5})
    assert json.loads(path.read_text(encoding="utf8")) == {"字": 1.5}
    assert [each.name for each in tmp_path.iterdir()] == ["x.json"]


def fill(path: Path, content: str) -> None:
    with files.new_folder(path) as folder:
        files.write_file(folder / "a", lambda file: file.write(content.encode()))
        files.write_file(folder / "b", lambda file: file.write(content.encode()))


def read(path: Path) -> list[str]:
    return [(path / name).read_text() for name in ("a", "b")] if path.exists() else []


def test_a_new_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(points(lambda: fill(tmp_path / "probe", "new"), monkeypatch))
    for number in range(count):
        path = tmp_path / f"f{number}"
        cut_at(number, lambda path=path: fill(path, "new"), monkeypatch)
        assert read(path) in ([], ["new", "new"])


def test_a_folder_replaced_is_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "probe", "old")
    count = len(points(lambda: fill(tmp_path / "probe", "new"), monkeypatch))
    for number in range(count):
        path = tmp_path / f"f{number}"
        fill(path, "old")
        cut_at(number, lambda path=path: fill(path, "new"), monkeypatch)
        assert read(path) in ([], ["old", "old"], ["new", "new"])
    files.sweep(tmp_path)
    assert not [each.name for each in tmp_path.iterdir() if files.TEMPORARY in each.name or files.TRASH in each.name]


def test_the_old_folder_comes_back_where_the_new_one_cannot_have_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "x", "old")
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if files.TEMPORARY in source.name:
            raise OSError("no more names")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="no more names"):
        fill(tmp_path / "x", "new")
    assert read(tmp_path / "x") == ["old", "old"]
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_after_a_kill_between_two_renames_the_old_folder_is_swept_back(tmp_path: Path) -> None:
    for name, there in (("x", False), ("y", True)):
        fill(tmp_path / name, "old")
        (tmp_path / name).rename(tmp_path / f"{name}{files.ASIDE}123")
        if there:
            fill(tmp_path / name, "new")
    files.sweep(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x", "y"]
    assert (read(tmp_path / "x"), read(tmp_path / "y")) == (["old", "old"], ["new", "new"])


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), files.new_folder(tmp_path / "x") as folder:
        files.write_file(folder / "a", lambda file: file.writelines(failing()))
    (tmp_path / "y").write_text("old")
    with pytest.raises(TypeError):
        files.replace_file(tmp_path / "y", 3)  # type: ignore[arg-type]
    assert [each.name for each in tmp_path.iterdir()] == ["y"]


def test_a_deleted_folder_never_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "probe", "x")
    count = len(points(lambda: files.remove_folder(tmp_path / "probe"), monkeypatch))
    for number in range(count):
        path = tmp_path / f"f{number}"
        fill(path, "x")
        cut_at(number, lambda path=path: files.remove_folder(path), monkeypatch)
        assert read(path) in ([], ["x", "x"])
    files.sweep(tmp_path)
    assert all(read(each) == ["x", "x"] for each in tmp_path.iterdir())


def test_hash(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert files.file_hash(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
