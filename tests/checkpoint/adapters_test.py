"""Adapter folders: where what is below is, whether it is the same, several on one model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stirring import answer, made, stirred

from danlu.adapt import names, read_change, switch
from danlu.checkpoint import Checkpoint, damaged_files
from danlu.errors import DanluError
from danlu.models.families import family_of

Make = Callable[..., Path]


@pytest.fixture
def adapter(tmp_path: Path) -> Make:
    """A base and an adapter on it, each in a folder."""

    def make(kind: object = "lora", name: str = "adapter", seed: int = 0) -> Path:
        base = tmp_path / "base"
        if not base.exists():
            made("gpt2-tiny").save(base)
        changed = Checkpoint.load(base).changed(read_change(kind), seed, str(base))
        stirred(changed.model, only_trained=True, seed=seed)
        return changed.save(tmp_path / name)

    return make


def test_an_adapter_is_small_and_says_what_it_stands_on(adapter: Make, tmp_path: Path) -> None:
    folder = adapter({"rank": 1})
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sizes["adapter_model.safetensors"] < (tmp_path / "base/model.safetensors").stat().st_size / 4
    assert "config.json" not in sizes
    record = json.loads((folder / "danlu.json").read_text())
    assert record["changes"][0]["kind"] == "lora"
    assert record["base"]["folder"] == str(tmp_path / "base")
    assert record["base"]["relative"] == "../base"
    assert record["trained"]["trains"] < record["trained"]["parameters"]
    assert not damaged_files(folder)
    assert Checkpoint.load(folder).replay().holds
    family, config = Checkpoint.peek(folder)
    assert family == family_of({"model_type": "gpt2"})
    assert config == Checkpoint.peek(tmp_path / "base")[1]


def test_both_may_move_together_and_one_alone_is_told_where(adapter: Make, tmp_path: Path) -> None:
    expected = answer(Checkpoint.load(adapter()).model)
    (tmp_path / "elsewhere").mkdir()
    for name in ("base", "adapter"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    moved = tmp_path / "elsewhere/adapter"
    assert torch.equal(answer(Checkpoint.load(moved).model), expected)
    shutil.move(tmp_path / "elsewhere/base", tmp_path / "far")
    with pytest.raises(DanluError, match="E2006"):
        Checkpoint.load(moved)
    assert torch.equal(answer(Checkpoint.load(moved, base=tmp_path / "far").model), expected)


def test_another_model_below_is_refused(adapter: Make, tmp_path: Path) -> None:
    folder = adapter()
    other = made("gpt2-tiny")
    with torch.no_grad():
        other.model.get_parameter("tower.transformer.blocks.1.mlp.up.weight").mul_(1.5)
    other.save(tmp_path / "other")
    made("bert-tiny").save(tmp_path / "third")
    for place in ("other", "third"):
        with pytest.raises(DanluError, match="E2005"):
            Checkpoint.load(folder, base=tmp_path / place)


def test_the_same_weights_in_half_precision_are_the_same(adapter: Make, tmp_path: Path) -> None:
    folder = adapter()
    half = Checkpoint.load(tmp_path / "base", dtype=torch.bfloat16)
    half.save(tmp_path / "half")
    loaded = Checkpoint.load(folder, base=tmp_path / "half")
    torch.testing.assert_close(answer(loaded.model).float(), answer(Checkpoint.load(folder).model), rtol=0.2, atol=0.2)
    assert Checkpoint.load(folder, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_changed_base_of_codes(adapter: Make) -> None:
    folder = adapter({"kind": "lora", "base": "nf4"})
    first, again = Checkpoint.load(folder), Checkpoint.load(folder)
    assert torch.equal(answer(first.model), answer(again.model))
    assert first.replay().holds


def test_merged_and_adapted_again(adapter: Make, tmp_path: Path) -> None:
    folder = adapter()
    merged = Checkpoint.load(folder).merged()
    second = merged.changed(read_change("ia3"), name=str(folder))
    stirred(second.model, only_trained=True)
    expected = answer(second.model)
    second.save(tmp_path / "second")
    torch.testing.assert_close(answer(Checkpoint.load(tmp_path / "second").model), expected, rtol=0, atol=1e-6)


def test_several_on_one_model(adapter: Make, tmp_path: Path) -> None:
    folders = {name: adapter(kind, name, seed) for seed, (name, kind) in enumerate({"a": "lora", "b": "dora"}.items())}
    apart = {name: answer(Checkpoint.load(folder).model) for name, folder in folders.items()}
    both = Checkpoint.load(tmp_path / "base")
    plain = answer(both.model)
    for name, folder in folders.items():
        both = both.attached(name, folder)
    assert names(both.model) == ["a", "b"]
    for name, expected in apart.items():
        switch(both.model, name)
        assert torch.equal(answer(both.model), expected)
    switch(both.model, None)
    assert torch.equal(answer(both.model), plain)
    with pytest.raises(DanluError, match="E2014"):
        both.attached("c", tmp_path / "base")
    with pytest.raises(DanluError, match="E2011"):
        both.attached("a", folders["b"])
    both.save(tmp_path / "last")
    assert torch.equal(answer(Checkpoint.load(tmp_path / "last").model), apart["b"])


def test_on_a_fresh_model_the_merged_one_is_written(tmp_path: Path) -> None:
    fresh = made("gpt2-tiny").changed(read_change("lora"))
    stirred(fresh.model, only_trained=True)
    expected = answer(fresh.model)
    fresh.save(tmp_path / "model")
    assert (tmp_path / "model/config.json").is_file()
    torch.testing.assert_close(answer(Checkpoint.load(tmp_path / "model").model), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        ({"changes": [{"kind": "magic"}]}, "E2009"), ({"changes": [{"kind": "full"}]}, "E1421"),
        ({"base": "here"}, "E1421"), ({"config": {"kind": "x"}}, "E1421"), ({"format": 99}, "E1421"),
    ],
)  # fmt: skip
def test_records_that_make_no_sense(edit: dict[str, object], code: str, adapter: Make) -> None:
    folder = adapter()
    path = folder / "danlu.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(DanluError, match=code):
        Checkpoint.load(folder)


def test_a_whole_model_that_claims_changes_is_refused(tmp_path: Path) -> None:
    made("gpt2-tiny").save(tmp_path / "model")
    path = tmp_path / "model/danlu.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"changes": [{"kind": "lora"}]}))
    with pytest.raises(DanluError, match="E1421"):
        Checkpoint.load(tmp_path / "model")
