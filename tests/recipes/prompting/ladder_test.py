"""`danlu prompt ladder` and `danlu prompt tune`: one split, every rung, resumable; what is kept and recommended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.errors import DanluError
from danlu.evaluate.predictions import Prediction, read_predictions
from danlu.prompt.spec import read_spec
from danlu.recipes.prompting import rungs
from danlu.recipes.prompting.ladder import judgement, ladder
from danlu.recipes.prompting.opening import open_prompt
from danlu.recipes.prompting.rungs import RUNGS
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run
from danlu.report.ladder import TITLES

MakeCall = Callable[..., Call]
SMALL = {"model": {"width": 32, "depth": 2, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}
FAST: dict[str, Any] = {
    "train": {"steps": 4, "batch": 8, "evaluate_every": 2, "save_every": 2}, "rules": {"rows": 8, "keep": 2},
    "search": {"ways": ["edits"], "budget": {"looks": 12}}, "variations": 0, "labels": {"pos": "good", "neg": "bad"},
}  # fmt: skip


@pytest.fixture
def start(tmp_path: Path) -> Run:
    """A BERT that has read next to nothing."""
    text = tmp_path / "text.txt"
    words = ["the", "film", "was", "very", "good", "and", "bad", "it", "is", "a", "story", "about", "great", "dull",
             "awful", "poor", "wonderful", "excellent", "positive", "negative", "terrible"]  # fmt: skip
    text.write_text("\n".join(" ".join(words[at % 7 :: 2] + words[:: at % 5 + 1]) for at in range(80)), encoding="utf8")
    train = {"steps": 3, "batch": 4, "evaluate_every": 3}
    return danlu.pretrain("bert-tiny", text, quiet=True, output="runs/bert", samples={"count": 0},
                          train=train, data={"length": 32}, **SMALL)  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Folders of a table: train, dev, test."""
    place = tmp_path / "reviews"
    place.mkdir()
    for part, count in (("train", 24), ("dev", 12), ("test", 20)):
        lines = [
            f"{label}\tthe {thing} {number} of the {part} was {word}"
            for number in range(count // 2)
            for thing in ("film",)
            for label, word in (("pos", "great"), ("neg", "dull"))
        ]
        (place / f"{part}.tsv").write_text("label\ttext\n" + "\n".join(lines) + "\n", encoding="utf8")
    return place


def test_climbs_every_rung(start: Run, rows: Path, make: MakeCall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rung's row, its files and its price; the recommended one is the run's own. Done again, nothing is."""
    answer = ladder(make(start, rows, output="runs/ladder", **FAST))
    run = Run(Path("runs/ladder"))
    assert (answer.run, run.state) == (run.path, "finished")
    found = json.loads((run.path / "ladder.json").read_text(encoding="utf8"))
    assert [row["rung"] for row in found["rungs"]] == list(RUNGS)
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 and row["count"] == 20 for row in found["rungs"])
    price = {row["rung"]: row for row in found["rungs"]}
    assert [price[name]["trains"] for name in ("hand", "rules", "searched")] == [0, 0, 0]
    assert price["soft"]["trains"] == 8 * 32
    assert 0 < price["lora"]["trains"] < price["partial"]["trains"] <= price["full"]["trains"]
    assert price["hand"]["bytes"] < price["soft"]["bytes"] < price["full"]["bytes"]
    assert all(row["behind"]["value"] >= 0 for row in found["rungs"])
    chosen = run.path / "rungs" / found["recommended"]
    assert (run.path / "prompt.json").read_text() == (chosen / "prompt.json").read_text()
    assert (run.path / "model").is_dir() == (chosen / "model").is_dir()
    report = (run.path / "report.html").read_text(encoding="utf8")
    assert all(en in report for en, _ in TITLES.values())
    assert "the ladder" in report.lower()
    monkeypatch.setattr(rungs, "RUNGS", {})  # would fail if anything were climbed again
    ladder(make("runs/ladder"))


def test_test_rows_are_read_last(start: Run, rows: Path, make: MakeCall) -> None:
    """The ledger says when the rows to be measured on were looked at: after each choice, and never to search by."""
    ladder(make(start, rows, output="runs/ladder", **FAST, rungs="hand,searched"))
    lines = [json.loads(line) for line in Path("runs/ladder/looks.jsonl").read_text(encoding="utf8").splitlines()]
    notes = [line["note"] for line in lines if "note" in line]
    final = [note for note in notes if note.get("read") == "final"]
    assert [note["why"] for note in final] == ["measure hand", "measure searched"]
    assert {note["fingerprint"] for note in notes if note.get("read") in ("train", "validation")}.isdisjoint(
        note["fingerprint"] for note in final
    )


@pytest.mark.parametrize("broken", ["searched", "lora"])
def test_goes_on_where_it_was_stopped(
    start: Run, rows: Path, make: MakeCall, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Ctrl-C in a rung: those below it are not climbed again, and the result is that of a run that was not stopped."""
    only = ["hand", "searched", "lora"]
    whole = ladder(make(start, rows, output="runs/whole", **FAST, rungs=only))
    with monkeypatch.context() as patch:
        patch.setitem(rungs.RUNGS, broken, _stopped)
        with pytest.raises(KeyboardInterrupt) as stopped:
            ladder(make(start, rows, output="runs/parts", **FAST, rungs=only))
    assert getattr(stopped.value, "advice", "") == "danlu prompt ladder runs/parts"
    assert (Path("runs/parts/rungs/hand/result.json")).is_file()
    again = ladder(make("runs/parts"))
    assert [answer.metrics["accuracy"] for answer in (whole, again)] == [whole.metrics["accuracy"]] * 2
    for name in only:
        ours, theirs = (Path(f"runs/{run}/rungs/{name}/predictions.jsonl").read_text() for run in ("whole", "parts"))
        assert ours == theirs


def _stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_recommends_the_cheapest_within_noise() -> None:
    """Of three rungs, the second is as good as the third on these rows, and the first is worse for certain."""

    def said(right: int) -> list[Prediction]:
        return [Prediction(at, "f", at, f"{at}", "t", "a" if at < right else "b", "a", 0.5) for at in range(200)]

    answers = {"hand": said(80), "rules": said(180), "full": said(182)}
    rows = [{"rung": name, "value": sum(each.right for each in some) / 200} for name, some in answers.items()]
    found = judgement(rows, answers, seed=0)
    assert (found["best"], found["recommended"]) == ("full", "rules")
    assert [row["within_noise"] for row in found["rungs"]] == [False, True, True]


def test_typo(start: Run, rows: Path, make: MakeCall) -> None:
    with pytest.raises(DanluError, match="E110"):
        ladder(make(start, rows, rungs=["hnd"]))
    with pytest.raises(DanluError, match="E1101") as caught:
        ladder(make(start, rows, lyers=3))
    assert caught.value.nearest == "layers"


@pytest.mark.parametrize(
    ("adapt", "trained"), [(None, "soft"), ("lora", "lora"), ("prefix", "prefix"), ("full", "full")]
)
def test_tune(start: Run, rows: Path, adapt: str | None, trained: str) -> None:
    """What was trained stands in the run and answers as it did when it was measured."""
    settings = {name: FAST[name] for name in ("train", "rules", "labels")}
    run = danlu.call("prompt", "tune", start, rows, output="runs/tuned", adapt=adapt, template="{text} it was {mask}",
                     quiet=True, **settings).run  # fmt: skip
    spec = read_spec(run / "prompt.json")
    assert spec.made_by[-1] == f"tuned:{trained}"
    assert (spec.soft != {}) == (adapt is None) == (run / "prompt.safetensors").is_file()
    told = read_predictions(run / "predictions.jsonl")
    again = open_prompt(str(run)).classify([each.text for each in told])
    assert [each.value for each in again] == [each.prediction for each in told]
    assert {row["name"] for row in Run(run).results} >= {"accuracy", "macro_f1"}


def test_few_rows(start: Run, rows: Path, make: MakeCall) -> None:
    """few=2: two of each class are learnt from, chosen by two of each."""
    danlu.call("prompt", "tune", start, rows, output="runs/few", few=2, template="{text} it was {mask}", quiet=True,
               train=FAST["train"], labels=FAST["labels"])  # fmt: skip
    lines = [json.loads(line) for line in Path("runs/few/looks.jsonl").read_text(encoding="utf8").splitlines()]
    read = {line["note"]["why"]: line["note"]["rows"] for line in lines if "note" in line}
    assert (read["train"], read["choose"], read["measure"]) == (4, 4, 20)
    config = Run(Path("runs/few")).config
    assert (config["few"], config["verb"]) == (2, "prompt tune")


def test_rows_without_labels(start: Run, rows: Path, tmp_path: Path) -> None:
    """Two prompts are trained on the rows with labels; a last one learns what they say of the rows without (PET)."""
    more = tmp_path / "more.tsv"
    more.write_text("text\n" + "".join(f"one more film, {word}\n" for word in ("great", "dull", "good") * 4))
    run = danlu.call("prompt", "tune", start, rows, output="runs/pet", adapt="full", unlabelled=[str(more)], patterns=2,
                     quiet=True, **{name: FAST[name] for name in ("train", "rules", "labels")}).run  # fmt: skip
    assert sorted(path.name for path in (run / "patterns").iterdir()) == ["0", "1"]
    assert (run / "model").is_dir()
    specs = [read_spec(run / "patterns" / name / "prompt.json").lines for name in "01"]
    assert specs[0] != specs[1]
    assert read_spec(run / "prompt.json").lines == specs[0]
