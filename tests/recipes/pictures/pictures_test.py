"""Training on pictures from the command to the report."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import danlu
from danlu.checkpoint import Checkpoint
from danlu.data.scenes import scenes
from danlu.errors import DanluError
from danlu.models.dual import DualEncoder
from danlu.recipes.evaluating.evaluate import evaluate
from danlu.recipes.finetuning.finetune import finetune
from danlu.recipes.preparing.data import data
from danlu.recipes.pretraining.pretrain import pretrain
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run

TINY = {"model": {"width": 32, "depth": 1, "heads": 2}, "tokenizer": {"vocabulary": 300}}
BRIEF = {"train": {"steps": 6, "batch": 8, "save_every": 3, "evaluate_every": 3}}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Drawn scenes in a folder, two of them broken."""
    place = tmp_path / "scenes"
    place.mkdir()
    rows = []
    for number, (scene, picture) in enumerate(scenes(60)):
        picture.save(place / f"{number}.png")
        rows.append({"image": f"{number}.png", "en": scene.en, "zh": scene.zh})
    (place / "7.png").write_bytes(b"no picture")
    (place / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf8")
    return place


@pytest.mark.parametrize("family", ["clip", "chinese-clip", "siglip", "align"])
def test_every_family_from_command_to_folder(family: str, pictures: Path, make: Callable[..., Call]) -> None:
    call = make(f"{family}-tiny", pictures, output="runs/x", data={"text": "en", "held_out": 0.2}, **TINY, **BRIEF)
    run = Run(Path("runs/x"))
    assert pretrain(call).run == run.path
    assert run.state == "finished"
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert ledger["dropped"] == {"not a picture": 1}
    assert ledger["trained"] + ledger["held_out"] == 59
    assert {"text_r1", "image_r1", "text_r10"} <= run.metrics.keys()
    page = (run.path / "report.html").read_text(encoding="utf8")
    assert page.count("data:image/png;base64,") > 10
    theirs = transformers.AutoModel.from_pretrained(run.model).eval()
    ours = Checkpoint.load(run.path)
    assert isinstance(ours.model, DualEncoder)
    assert ours.processor
    assert ours.tokenizer
    numbers = torch.from_numpy(ours.processor(Image.open(pictures / "3.png").convert("RGB")))[None]
    tokens = torch.tensor([ours.tokenizer.frame(ours.tokenizer.encode("two red circles in the middle"))])
    with torch.no_grad():
        wanted = theirs(input_ids=tokens, pixel_values=numbers).logits_per_image
        assert (ours.model(tokens, numbers) - wanted).abs().max() < 1e-3


def test_going_on_gives_the_same_bits(pictures: Path, make: Callable[..., Call]) -> None:
    """A run of six steps, and one that is stopped after three: align, whose norms remember what they saw."""
    shared = {"data": {"text": "en", "crop": 0.7, "flip": True}, **TINY}

    def weights(run: Path) -> dict[str, torch.Tensor]:
        return Checkpoint.load(run).model.state_dict()

    brief = {"train": {**BRIEF["train"], "best": False}}
    pretrain(make("align-tiny", pictures, output="runs/a", **shared, **brief))
    pretrain(make("align-tiny", pictures, output="runs/b", **shared, **brief))
    for path in [*Path("runs/b/checkpoints").glob("step-*6"), Path("runs/b/README.md")]:
        if path.is_dir():
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
        else:
            path.unlink()
    pretrain(make("runs/b"))
    first, second = weights(Path("runs/a")), weights(Path("runs/b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_large_batches_in_pieces(pictures: Path, make: Callable[..., Call]) -> None:
    """Two forwards: as many rows are compared as the batch has, whatever `micro` says."""
    shared = {"data": {"text": "en"}, **TINY}
    losses = []
    for micro in (None, 3):
        train = {**BRIEF["train"], "steps": 2, "micro": micro}
        pretrain(make("clip-tiny", pictures, output=f"runs/{micro}", train=train, **shared))
        losses.append([row["loss"] for row in Run(Path(f"runs/{micro}")).history.steps])
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)  # bf16


def test_a_locked_tower_stays(pictures: Path, make: Callable[..., Call]) -> None:
    pretrain(make("clip-tiny", pictures, output="runs/a", data={"text": "en"}, **TINY, **BRIEF))
    train = {"steps": 2, "batch": 8, "lr": 0.01}
    pretrain(make("runs/a", pictures, output="runs/b", data={"text": "zh"}, lock="image", train=train))
    before, after = (Checkpoint.load(f"runs/{name}").model.state_dict() for name in "ab")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("image.") for name in moved)
    assert any(name.startswith("text.") for name in moved)


def test_evaluating_and_naming(pictures: Path, make: Callable[..., Call], tmp_path: Path) -> None:
    pretrain(make("clip-tiny", pictures, output="runs/a", data={"text": "en"}, **TINY, **BRIEF))
    for number, (scene, picture) in enumerate(scenes(40, held_out=True)):
        place = tmp_path / "classes" / scene.colour
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number}.png")
    answer = evaluate(
        make("runs/a", tmp_path / "classes", templates=["{name}", "a {name} shape"], probe=str(tmp_path / "classes"))
    )
    assert {"text_r1", "image_r1", "zero_shot", "probe"} <= answer.metrics.keys()
    assert answer.metrics["probe"]["value"] > 0.25  # ten colours
    assert 0 <= answer.metrics["zero_shot"]["low"] <= answer.metrics["zero_shot"]["high"] <= 1
    assert "confused" in Path("runs/a/report.html").read_text(encoding="utf8")


def test_fine_tuning_for_classes(pictures: Path, make: Callable[..., Call], tmp_path: Path) -> None:
    """Towers that have learnt are taught the names of classes; the run says how well it names."""
    pretrain(make("clip-tiny", pictures, output="runs/a", data={"text": "en"}, **TINY, **BRIEF))
    for number, (scene, picture) in enumerate(scenes(40, held_out=True)):
        place = tmp_path / "classes" / scene.colour
        place.mkdir(parents=True, exist_ok=True)
        picture.save(place / f"{number}.png")
    finetune(make("runs/a", tmp_path / "classes", output="runs/b", data={"caption": "a {name} thing", "held_out": 0.5},
                  lock="text", **BRIEF))  # fmt: skip
    assert 0 <= Run(Path("runs/b")).metrics["zero_shot"] <= 1
    assert Checkpoint.load("runs/b").lineage["verb"] == "finetune"
    moved = Checkpoint.load("runs/a").model.state_dict(), Checkpoint.load("runs/b").model.state_dict()
    assert all(torch.equal(moved[0][name], moved[1][name]) for name in moved[0] if name.startswith("text."))


def test_inspecting(pictures: Path, make: Callable[..., Call], capsys: pytest.CaptureFixture[str]) -> None:
    answer = data(make("inspect", "clip-tiny", pictures, data={"text": "zh"}, rows=2, html="seen.html", **TINY))
    assert answer.metrics["pictures"] + answer.metrics["held out"] == 59
    assert answer.metrics["dropped"] == 1
    page = Path("seen.html").read_text(encoding="utf8")
    assert page.count("<img") == 4
    assert "<script" not in page
    assert "startoftext" in capsys.readouterr().out


def test_what_is_wrong_is_told_together(tmp_path: Path, make: Callable[..., Call]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DanluError, match="E2207"):
        pretrain(make("clip-tiny", tmp_path / "empty"))
    with pytest.raises(DanluError, match="E1101"):
        pretrain(make("clip-tiny", tmp_path, data={"croop": 1}))
    with pytest.raises(DanluError, match="E1005"):
        pretrain(make("clip-tiny"))
    assert not Path("runs").exists()


def test_python_mirrors_the_verb(pictures: Path) -> None:
    run = danlu.pretrain("siglip-tiny", pictures, quiet=True, output="runs/p", data={"text": "zh"}, **TINY, **BRIEF)
    assert run.state == "finished"
    assert np.isfinite(run.metrics["loss"])
