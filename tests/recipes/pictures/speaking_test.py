"""Language models that see, from the command to the report."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

import danlu
from danlu.checkpoint import Checkpoint
from danlu.data.scenes import scenes
from danlu.errors import DanluError
from danlu.generate.seeing import Seer
from danlu.recipes.evaluating.evaluate import evaluate
from danlu.recipes.finetuning.finetune import finetune
from danlu.recipes.preparing.data import data
from danlu.recipes.pretraining.pretrain import pretrain
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run
from danlu.recipes.using.chat import chat

TINY = {"model": {"width": 32, "depth": 1, "heads": 2, "patch": 16}, "tokenizer": {"vocabulary": 330}}
BRIEF = {"train": {"steps": 4, "batch": 8, "save_every": 2, "evaluate_every": 2}}


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Drawn scenes in a zip file, and a table of questions that names them without their suffix."""
    rows = ["image_id\tquestion\tanswer"]
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for number, (scene, picture) in enumerate(scenes(40)):
            picture.save(tmp_path / "one.png")
            archive.write(tmp_path / "one.png", f"{number}.png")
            rows.append(f"{number}\twhat colour is it?\t{scene.colour}")
            rows.append(f"{number}\tis it a {scene.shape}?\tyes")
    rows += ["999\tis it gone?\tyes", "3\twithout an answer?\t"]
    (tmp_path / "questions.tsv").write_text("\n".join(rows), encoding="utf8")
    return tmp_path / "questions.tsv"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Pictures and films in one folder, each with a caption."""
    place = tmp_path / "seen"
    place.mkdir()
    rows = []
    for number, (scene, picture) in enumerate(scenes(24)):
        name = f"{number}.gif" if number % 2 else f"{number}.png"
        more = {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]} if number % 2 else {}
        picture.save(place / name, **more)
        rows.append({"image": name, "caption": scene.en})
    Image.new("RGB", (8, 8)).save(place / "still.gif")
    rows.append({"image": "still.gif", "caption": "one frame"})
    (place / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    return place


@pytest.mark.parametrize("family", ["gpt3-vision", "palm-vision", "llava"])
def test_questions_from_command_to_answer(family: str, questions: Path, make: Callable[..., Call]) -> None:
    call = make(f"{family}-tiny", questions, output="runs/x", data={"held_out": 0.2}, **TINY, **BRIEF)
    run = Run(Path("runs/x"))
    assert finetune(call).run == run.path
    assert run.state == "finished"
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert ledger["dropped"] == {"no picture": 1, "no caption": 1}
    assert ledger["trained"] + ledger["held_out"] == 40
    assert {"accuracy", "swapped", "prior"} <= run.metrics.keys()
    page = (run.path / "report.html").read_text(encoding="utf8")
    assert page.count("data:image/png;base64,") > 4
    assert "what colour is it?" in page
    model = danlu.load(run)
    assert isinstance(model, Seer)
    picture = Image.new("RGB", (70, 50), "red")
    assert isinstance(model.ask(picture, "what colour is it?"), str)
    assert len(model.ask([picture, picture], ["is it a ring?", ""])) == 2
    assert isinstance(model.generate("what"), str)
    published = json.loads((run.model / "config.json").read_text())["model_type"]
    assert published == ("llava" if family == "llava" else "danlu")
    assert Checkpoint.load(run.path).replay().holds


def test_pictures_films_and_captions_in_one_space(films: Path, make: Callable[..., Call]) -> None:
    call = make("palm-vision-tiny", films, output="runs/y", data={"frames": 2, "held_out": 0.2}, **TINY, **BRIEF)
    pretrain(call)
    run = Run(Path("runs/y"))
    ledger = json.loads((run.path / "ledger.json").read_text())
    assert ledger["dropped"] == {"one frame": 1}
    assert any("sigmoid_loss" in row for row in run.history.steps)
    model = danlu.load(run)
    assert model.frames == 2
    assert isinstance(model.describe(films / "1.gif"), str)
    assert model.matcher.match([films / "0.png"], ["a ring"]).shape == (1, 1)
    answer = evaluate(make("runs/y", films))
    assert {"text_r1", "image_r1"} <= answer.metrics.keys()


def test_going_on_gives_the_same_bits(films: Path, make: Callable[..., Call]) -> None:
    shared = {"data": {"frames": 2}, **TINY, "train": {**BRIEF["train"], "best": False}}
    for name in "ab":
        pretrain(make("palm-vision-tiny", films, output=f"runs/{name}", **shared))
    for path in [*Path("runs/b/checkpoints").glob("step-*4"), Path("runs/b/README.md")]:
        for file in path.iterdir() if path.is_dir() else [path]:
            file.unlink()
        if path.is_dir():
            path.rmdir()
    pretrain(make("runs/b"))
    first, second = (Checkpoint.load(f"runs/{name}").model.state_dict() for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_batch_in_pieces_is_the_batch(films: Path, make: Callable[..., Call]) -> None:
    losses = []
    for micro in (None, 3):
        train = {"steps": 2, "batch": 8, "micro": micro, "precision": "float32"}
        pretrain(make("palm-vision-tiny", films, output=f"runs/{micro}", data={"frames": 2}, **TINY, train=train))
        losses.append([row["loss"] for row in Run(Path(f"runs/{micro}")).history.steps])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_language_model_is_given_eyes(
    films: Path, questions: Path, make: Callable[..., Call], tmp_path: Path
) -> None:
    """A GPT and a CLIP of our own; the trunk locked, then both learn beside text, and text is what it was."""
    (tmp_path / "text.txt").write_text("Anna sees a red ring. " * 200, encoding="utf8")
    small = {"model": {"width": 32, "depth": 1, "heads": 2}, "tokenizer": {"vocabulary": 330}}
    brief = {"train": {"steps": 2, "batch": 4}}
    pretrain(make("gpt2-tiny", tmp_path / "text.txt", output="runs/gpt", data={"length": 32}, **small, **brief))
    pretrain(make("clip-tiny", films, output="runs/clip", **TINY, **brief))
    first = make("runs/gpt", questions, tower="runs/clip", lock="trunk,image", output="runs/one", **brief)
    pretrain(first)
    before, aligned = Checkpoint.load("runs/gpt").model, Checkpoint.load("runs/one").model
    known = before.config.vocabulary
    tokens = torch.randint(known, (2, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(aligned(tokens)[..., :known], before(tokens))  # type: ignore[operator]
    finetune(make("runs/one", questions, output="runs/two", text={"paths": [str(tmp_path / "text.txt")], "share": 0.5},
                  train={"steps": 4, "batch": 4}))  # fmt: skip
    moved = Checkpoint.load("runs/two").model
    assert not torch.equal(moved(tokens), aligned(tokens))
    told = Checkpoint.load("runs/two").lineage
    assert told["before"]["start"] == "runs/gpt"
    assert isinstance(danlu.load("runs/two").ask(Image.new("RGB", (9, 9)), "what?"), str)


def test_a_language_model_looks_at_patches_itself(films: Path, make: Callable[..., Call], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("Anna sees a red ring. " * 200, encoding="utf8")
    small = {"model": {"width": 32, "depth": 1, "heads": 2}, "tokenizer": {"vocabulary": 330}}
    pretrain(make("palm-tiny", tmp_path / "text.txt", output="runs/palm", data={"length": 32}, **small,
                  train={"steps": 2, "batch": 4}))  # fmt: skip
    eyes = {"model": {"size": 32, "patch": 16, "common": 16}, "data": {"frames": 2}}
    pretrain(make("runs/palm", films, tower="patches", output="runs/p", **eyes, **BRIEF))
    model = danlu.load("runs/p")
    assert model.model.config.axes
    assert model.matcher.width == 16


def test_inspecting(questions: Path, make: Callable[..., Call], capsys: pytest.CaptureFixture[str]) -> None:
    answer = data(make("inspect", "palm-vision-tiny", questions, rows=2, html="seen.html", **TINY))
    assert answer.metrics["questions"] == 2 * answer.metrics["pictures"]
    assert answer.metrics["dropped"] == 2
    shown = capsys.readouterr().out
    assert "× picture>" in shown
    assert "|" in shown
    page = Path("seen.html").read_text(encoding="utf8")
    assert page.count("<img") == 4


def test_what_cannot_be_is_told(questions: Path, films: Path, make: Callable[..., Call], tmp_path: Path) -> None:
    crowded = TINY | {"model": TINY["model"] | {"length": 8}}
    with pytest.raises(DanluError, match="E2215"):
        finetune(make("palm-vision-tiny", questions, output="runs/a", **crowded, **BRIEF))
    with pytest.raises(DanluError, match="E1203"):
        finetune(make("palm-vision-tiny", questions, data={"question": "frage"}, **TINY))
    (tmp_path / "text.txt").write_text("Anna sees a ring. " * 90, encoding="utf8")
    small = {"model": {"width": 32, "depth": 1, "heads": 2}, "train": {"steps": 1, "batch": 2}}
    pretrain(make("bert-tiny", tmp_path / "text.txt", output="runs/bert", data={"length": 16}, **small))
    with pytest.raises(DanluError, match="E2217"):
        pretrain(make("runs/bert", questions, tower="runs/bert", output="runs/b"))
    assert not Path("runs/b").exists()


def test_asking_in_the_terminal(
    questions: Path, make: Callable[..., Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    finetune(make("palm-vision-tiny", questions, output="runs/t", **TINY, **BRIEF))
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"what is it?\n/picture {tmp_path / 'a.png'}\n?\n\n"))
    capsys.readouterr()
    chat(make("runs/t", picture=str(tmp_path / "a.png"), tokens=4))
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(DanluError, match="E2201"):
        chat(make("runs/t", "what?", picture=str(questions)))


def test_it_learns_to_look(make: Callable[..., Call], tmp_path: Path) -> None:
    """Four colours: right with the picture, by chance with another one; what is usual does not help."""
    rows = []
    for number in range(80):
        colour = ("red", "green", "blue", "yellow")[number % 4]
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": "what colour is it?", "answer": colour})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    train = {"steps": 50, "batch": 16, "evaluate_every": 50, "lr": 0.01}
    data = {"validation": [str(tmp_path / "rows.jsonl")]}
    finetune(make("gpt3-vision-tiny", tmp_path / "rows.jsonl", output="runs/l", data=data, **TINY, train=train))
    found = Run(Path("runs/l")).metrics
    assert found["accuracy"] > 0.9
    assert found["prior"] == 0.25
    assert found["swapped"] < 0.6
