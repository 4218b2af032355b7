"""Fine-tuning is performed as any run is: in several processes, tidied, made longer, rehearsed."""

import json
from pathlib import Path
from typing import Any

import pytest

import danlu
from danlu.errors import DanluError
from danlu.recipes.runs.folder import Run

SMALL: dict[str, Any] = {
    "model": {"width": 32, "depth": 1, "heads": 2, "length": 64, "dropout": 0.0}, "tokenizer": {"vocabulary": 300},
    "quiet": True,
}  # fmt: skip
TRAIN = {"steps": 6, "batch": 8, "evaluate_every": 3, "save_every": 2, "precision": "float32"}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    words = ("good", "bad", "fine", "poor")
    rows = [f"The meal {n} was {words[n % 4]}.,{'no' if n % 2 else 'yes'}" for n in range(80)]
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path


def tuned(data: Path, name: str, *, start: str = "bert-tiny", train: dict[str, Any] | None = None, **more: Any) -> Run:
    return danlu.finetune(start, data, output=f"runs/{name}", train=TRAIN | (train or {}), **SMALL | more)


def test_several_processes_share_a_model_out(reviews: Path) -> None:
    several = tuned(reviews, "several", train={"processes": 2, "sharded": True})
    one = tuned(reviews, "one")
    losses, theirs = ([line["loss"] for line in run.history.steps] for run in (several, one))
    assert losses == pytest.approx(theirs, rel=1e-2)  # dropout of the head is each process's own
    assert danlu.load(several).classify("The meal was good.").value in ("yes", "no")


def test_several_processes_learn_to_write(tmp_path: Path) -> None:
    (tmp_path / "words.tsv").write_text("source\ttarget\n" + "one two\tun deux\nthree\ttrois\n" * 30)
    several, one = (
        tuned(tmp_path / "words.tsv", f"w{n}", start="bart-tiny", task="translate", train={"processes": n})
        for n in (2, 1)
    )
    losses, theirs = ([line["loss"] for line in run.history.steps] for run in (several, one))
    assert losses == pytest.approx(theirs, rel=1e-4)


def test_searches_work_in_one_process(reviews: Path) -> None:
    with pytest.raises(DanluError, match="E2113"):
        tuned(reviews, "seeds", seeds=2, train={"processes": 2})


def test_checkpoints_are_tidied_and_a_finished_run_is_made_longer(reviews: Path) -> None:
    run = tuned(reviews, "run")
    assert len(list(run.path.glob("checkpoints/step-*"))) == 1
    longer = danlu.call("finetune", run, quiet=True, train={"steps": 8}).run
    assert longer
    assert Run(longer).metrics["step"] == 8
    assert danlu.resume(longer, quiet=True).metrics["step"] == 8


def test_a_rehearsal_says_what_was_inferred_and_does_nothing(reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    danlu.call("finetune", "bert-tiny", reviews, dry_run=True, adapt="lora", output="runs/none", lang="en",
               **{name: value for name, value in SMALL.items() if name != "quiet"})  # fmt: skip
    said = capsys.readouterr()
    assert "task: classify" in said.err
    assert "parameters train" in said.err
    assert "verb: finetune" in said.out
    assert not Path("runs/none").exists()


def test_what_each_task_was_told_stands_in_the_run(reviews: Path) -> None:
    run = danlu.call("finetune", "bert-tiny", tasks={"mood": {"data": {"paths": str(reviews)}}}, output="runs/named",
                     train=TRAIN, **SMALL).run  # fmt: skip
    assert run
    lineage = json.loads((run / "model/danlu.json").read_text())["lineage"]
    assert lineage["tasks"] == {"mood": "classify"}
    assert lineage["data"].keys() == {str(reviews)}
    assert (run / "predictions-mood-validation.jsonl").is_file()


def test_resuming_is_proved_on_a_run_of_ones_own(reviews: Path) -> None:
    run = tuned(reviews, "proved", adapt="lora", train={"steps": 2, "average": 0.9})
    proved = danlu.call("verify", "resume", run, steps=4, quiet=True)
    assert proved.passed
    assert "PASS: bit-equal" in (run.path / "README.md").read_text()
