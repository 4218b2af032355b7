"""Pickles: refused at run time, converted on request in another process."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from danlu.checkpoint import Checkpoint, convert, unpickle
from danlu.checkpoint.unpickle import tensors_in
from danlu.errors import DanluError
from danlu.voice import Voice

SOURCE = Path(__file__).parents[2] / "src/danlu"
QUIET = Voice(quiet=True)


class Bomb:
    """What a pickle can do when it is read without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def pickled(saved: Path, tmp_path: Path) -> Path:
    shutil.copytree(saved, tmp_path / "m")
    tensors = load_file(saved / "model.safetensors")
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    torch.save(tensors, tmp_path / "m/pytorch_model.bin")
    (tmp_path / "m/model.safetensors").unlink()
    (tmp_path / "m/golden.safetensors").rename(tmp_path / "golden.safetensors")
    return tmp_path / "m"


def test_converted_weights_are_the_same(pickled: Path, saved: Path) -> None:
    with pytest.raises(DanluError, match="E1424"):
        Checkpoint.load(pickled)
    assert convert(pickled, QUIET) == [pickled / "model.safetensors"]
    before, after = load_file(saved / "model.safetensors"), load_file(pickled / "model.safetensors")
    assert before.keys() == after.keys()  # the tied tensor's second name is gone
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert Checkpoint.load(pickled).model.state_dict().keys() == Checkpoint.load(saved).model.state_dict().keys()


def test_parts_are_converted(pickled: Path, saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    halves = [dict(list(tensors.items())[::2]), dict(list(tensors.items())[1::2])]
    (pickled / "pytorch_model.bin").unlink()
    where = {}
    for number, half in enumerate(halves, 1):
        torch.save({"state_dict": half}, pickled / f"pytorch_model-{number}.bin")
        where |= dict.fromkeys(half, f"pytorch_model-{number}.bin")
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": where}))
    assert len(convert(pickled, QUIET)) == 2
    again = Checkpoint.load(pickled).model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in Checkpoint.load(saved).model.state_dict().items())


def test_code_in_a_pickle_does_not_run(pickled: Path, tmp_path: Path) -> None:
    mark = tmp_path / "exploded"
    torch.save({"a": Bomb(mark)}, pickled / "pytorch_model.bin")
    with pytest.raises(DanluError, match="E1431") as caught:
        convert(pickled, QUIET)
    assert "touch" in str(caught.value.found) or "Unpickling" in str(caught.value.found)
    assert not mark.exists()
    assert not list(pickled.glob("*safetensors*"))


@pytest.mark.parametrize(
    "content", [{"a": "text"}, [torch.zeros(2)], {}, {"a": torch.zeros(2).to_sparse()}, {1: torch.zeros(2)}]
)
def test_what_is_more_than_tensors_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        tensors_in(content)


def test_views_become_whole_tensors() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    found = tensors_in({"model": {"a": base, "same": base, "turned": base.T, "part": base[1]}})
    assert list(found) == ["a", "turned", "part"]
    assert all(
        tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in found.values()
    )
    assert torch.equal(found["turned"], base.T)


def test_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1432"):
        convert(tmp_path, QUIET)


def test_an_old_torch_is_refused(pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    with pytest.raises(ValueError, match=r"2\.10"):
        unpickle.main(pickled / "pytorch_model.bin", pickled / "model.safetensors")


def test_torch_load_stands_in_one_file_only() -> None:
    calls = [
        path.name
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert calls == ["unpickle.py"]
