"""Checkpoints: what is in them, what is refused, what stays."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import TinyModel, trainer
from torch import nn

from danlu.errors import DanluError
from danlu.train.log import Journal
from danlu.train.resume import Checkpoints, anchors, step_of, verify
from danlu.train.saving import Saver
from danlu.train.tensors import load_model, model_tensors, optimizer_tensors
from danlu.voice import Voice

TENSORS = {"model": {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(3)}}


def checkpoints(folder: Path, keep: int = 2, every: int = 10, back: int = 100) -> Checkpoints:
    return Checkpoints(folder, keep=keep, every=every, back=back)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for step in (10, 20, 30):
        checkpoints(tmp_path).save(step, TENSORS, {"step": step})
    return tmp_path


def test_what_is_saved_is_read_again(three: Path) -> None:
    newest, damaged = checkpoints(three).newest()
    assert newest is not None
    assert (newest.step, newest.state, damaged) == (30, {"step": 30}, [])
    for name, tensor in newest.tensors("model").items():
        assert torch.equal(tensor, TENSORS["model"][name])
    assert newest.tensors("best") == {}


def test_tied_tensors_are_written_once() -> None:
    assert [name for name in model_tensors(TinyModel()) if "embedding" in name or "output" in name] == [
        "embedding.weight"
    ]


def test_optimizer_state_goes_by_parameter_names(tmp_path: Path) -> None:
    for name in ("adamw", "muon"):
        ours = trainer(tmp_path / name, optimizer=name, steps=3)
        ours.run()
        tensors, _ = optimizer_tensors(ours.model, ours.optimizer)
        kind = "momentum" if name == "muon" else "exp_avg"
        assert f"{kind}/blocks.0.up.weight" in tensors
        assert len({joint.partition("/")[2] for joint in tensors}) == len(list(ours.model.named_parameters()))


def test_another_model_is_refused(tmp_path: Path) -> None:
    model = TinyModel()
    with pytest.raises(DanluError, match="E1607"):
        load_model(model, TENSORS["model"], tmp_path)
    wrong = {name: torch.zeros(1, *tensor.shape) for name, tensor in model_tensors(model).items()}
    with pytest.raises(DanluError, match="E1607"):
        load_model(model, wrong, tmp_path)
    trainer(tmp_path, steps=2).run()
    with pytest.raises(DanluError, match="E1607"):
        trainer(tmp_path, model=nn.Sequential(nn.Linear(2, 2))).run()


def damage_by_removing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damage_by_cutting(folder: Path) -> None:
    raw = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(raw[:-1])


def damage_by_flipping(folder: Path) -> None:
    raw = bytearray((folder / "state.json").read_bytes())
    raw[3] ^= 1
    (folder / "state.json").write_bytes(raw)


def damage_the_manifest(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"schema": 1', '"schema":  1'))


def damage_by_swapping(folder: Path) -> None:
    shutil.copy(folder.parent / "step-00000010" / "manifest.json", folder / "manifest.json")


def add_a_stranger(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model-00002.safetensors")


@pytest.mark.parametrize(("code", "damage"), [
    ("E1601", lambda folder: (folder / "manifest.json").unlink()), ("E1602", damage_the_manifest),
    ("E1602", damage_by_swapping), ("E1603", damage_by_removing), ("E1604", damage_by_cutting),
    ("E1605", damage_by_flipping), ("E1606", add_a_stranger),
])  # fmt: skip
def test_damage_is_found_and_named_and_the_next_one_used(three: Path, code: str, damage) -> None:
    damage(three / "step-00000030")
    newest, damaged = checkpoints(three).newest()
    assert newest is not None
    assert newest.step == 20
    assert [error.code for error in damaged] == [code]
    assert "step-00000030" in damaged[0].render("en")
    assert "step-00000030" in damaged[0].render("zh")


def test_another_schema_is_refused(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.resume.SCHEMA", 2)
    with pytest.raises(DanluError, match="E1608"):
        verify(three / "step-00000030")


def test_a_damaged_checkpoint_is_replaced(three: Path) -> None:
    damage_by_cutting(three / "step-00000030")
    checkpoints(three).save(30, TENSORS, {"step": 30})
    verify(three / "step-00000030")


def test_two_whole_ones_stay_whatever_is_damaged(three: Path) -> None:
    damage_by_flipping(three / "step-00000030")
    ours = checkpoints(three, back=1)
    ours.prune()
    assert {step_of(path) for path in ours.paths()} == {10, 20}  # the damaged one goes, once two whole ones are there
    damage_by_flipping(three / "step-00000020")
    fresh = checkpoints(three, back=1)
    fresh.prune()
    assert {step_of(path) for path in fresh.paths()} == {10, 20}  # only one whole one: nothing is removed


def test_one_is_always_old_enough_to_go_back_to() -> None:
    steps: set[int] = set()
    for step in range(10, 2000, 10):
        steps = anchors({*steps, step}, every=10, keep=2, back=100)
        assert len(steps) <= 4
        assert {step, max(0, step - 10)} - {0} <= steps
        if step > 110:
            assert step - 220 <= max(old for old in steps if old <= step - 100)
    assert anchors([7, 20], every=10, keep=2, back=100) == {20}  # only regular ones count


def test_goes_back_far_enough_if_it_can(three: Path) -> None:
    checkpoints(three).save(33, TENSORS, {})  # of an interruption

    def found(step: int, back: int = 10) -> int:
        earlier = checkpoints(three, back=back).earlier(step)
        assert earlier is not None
        return earlier.step

    assert [found(34), found(40), found(43), found(21)] == [20, 30, 30, 10]
    assert found(34, back=100) == 10
    damage_by_flipping(three / "step-00000030")
    assert found(43) == 20
    assert checkpoints(three / "none").earlier(50) is None


def test_interruptions_do_not_move_the_anchors() -> None:
    plain: set[int] = set()
    for step in range(10, 500, 10):
        plain = anchors({*plain, step}, every=10, keep=2, back=50)
        assert anchors({*plain, step - 3, step + 3}, every=10, keep=2, back=50) == plain


def test_names() -> None:
    assert step_of(Path("step-00000012")) == 12
    assert step_of(Path("step-00000012.tmp-99")) == -1
    assert step_of(Path("step-x")) == -1


def test_room_is_asked_for_before_writing(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(three)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(OSError, match="No space"):
        checkpoints(three).save(40, TENSORS, {})
    assert {step_of(path) for path in checkpoints(three).paths()} == {10, 20, 30}


def test_saving_is_tried_again_and_given_up_after_two_distances(tmp_path: Path) -> None:
    class Full(Checkpoints):
        def save(self, step: int, *_: object) -> Path:
            tried.append(step)
            raise OSError(28, "No space left on device")

    tried: list[int] = []
    saver = Saver(Full(tmp_path, keep=2, every=10, back=100), 10.0, Voice(quiet=True), Journal(tmp_path / "journal"))
    saver.at(0)

    def train() -> None:
        for step in range(1, 100):
            if saver.due(step):
                saver.save(step, TENSORS, dict)

    with pytest.raises(DanluError, match="E1703") as caught:
        train()
    assert tried == [10, 11, 13, 17, 25, 35]  # after 1, 2, 4, 8, 10 steps
    assert "step 0" in caught.value.render("en")


def test_settings_that_changed_are_told(tmp_path: Path) -> None:
    trainer(tmp_path, steps=5).run()
    said: list[str] = []

    class Listening(Voice):
        def say(self, en: str, zh: str) -> None:
            said.append(en)

    trainer(tmp_path, steps=8, lr=5e-3, voice=Listening(quiet=True)).run()
    assert "changed since the checkpoint: steps 5 -> 8, lr 0.01 -> 0.005" in said
    assert any("going on from step 5" in line for line in said)
    events = [json.loads(line)["event"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert events == ["started", "done", "resumed", "changed", "done"]
