"""`danlu evaluate` of classifiers, comparisons, several seeds and a small search, as a person uses them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import danlu
from danlu.cli import main
from danlu.errors import DanluError
from danlu.evaluate.predictions import read_predictions
from danlu.recipes.evaluating.evaluate import evaluate
from danlu.recipes.finetuning.finetune import finetune
from danlu.recipes.runs.folder import Run, read_results

TINY = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 200}}
BRIEF = {"train": {"epochs": 6, "lr": 3e-3, "batch": 16}, "data": {"held_out": 0.2, "tested": 0.3}}
GOOD, BAD = ("good", "lovely", "fine", "great"), ("bad", "dull", "poor", "sad")


def table(path: Path, rows: int = 120, label: str = "label") -> Path:
    lines = [f"{label}\ttext\tsource"]
    for at in range(rows):
        words = GOOD if at % 2 else BAD
        name = "pos" if (at % 2) != (at % 17 == 0) else "neg"
        lines.append(f"{name}\ta {words[at % 4]} film {at}\t{'web' if at % 3 else 'book'}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return table(tmp_path / "reviews.tsv")


@pytest.fixture
def run(data: Path, make: Callable) -> Run:
    finetune(make("bert-tiny", data, output="runs/a", **TINY, **BRIEF))
    return Run(Path("runs/a"))


def test_a_run_keeps_its_predictions_and_intervals(run: Run) -> None:
    rows = {(row["name"], row["data"]): row for row in run.results}
    assert {data for _, data in rows} == {"validation", "test"}
    accuracy = rows["accuracy", "test"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    found = read_predictions(run.path / "predictions.jsonl")
    assert len(found) == accuracy["count"]
    assert sum(each.right for each in found) / len(found) == pytest.approx(accuracy["value"])
    assert all(each.file.endswith("reviews.tsv") and each.line > 1 for each in found)
    assert "Where it goes wrong" in (run.path / "report.html").read_text()


def test_any_file_slices_and_another_run(
    run: Run, data: Path, tmp_path: Path, make: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    brief = {"train": {"epochs": 1, "lr": 1e-5, "batch": 16}, "data": BRIEF["data"]}
    finetune(make("bert-tiny", data, output="runs/b", seed=1, **TINY, **brief))
    other = table(tmp_path / "more.tsv", 90)
    capsys.readouterr()
    words = [
        "evaluate",
        "runs/a",
        str(other),
        "slices=source",
        "metrics=micro_f1",
        "--against",
        "runs/b",
        "--json",
        "lang=en",
    ]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    assert said["accuracy"]["count"] == 90
    assert "micro_f1" in said
    verdict = said["against"]["accuracy"]
    assert verdict["verdict"] in ("better", "no difference shown")
    assert verdict["value"] == pytest.approx(said["accuracy"]["value"] - 0.5, abs=0.2)
    record = json.loads((run.path / "evaluation.json").read_text())
    groups = {row["group"] for row in record["answers"]["more.tsv"]["slices"]["source"]}
    assert groups == {"web", "book"}
    assert record["comparisons"][0]["against"] == "runs/b"
    assert (run.path / "predictions-more.jsonl").is_file()
    assert "Against other runs" in (run.path / "report.html").read_text()
    again = evaluate(make("runs/a", against="runs/b")).metrics["against"]
    assert set(again) >= {"accuracy", "loss"}


def test_a_run_against_itself_shows_no_difference(run: Run, make: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate(make(run, against=run)).metrics["against"]
    assert {each["verdict"] for each in found.values()} == {"no difference shown"}
    assert "no difference shown" in capsys.readouterr().out


def test_what_cannot_be_evaluated(run: Run, data: Path, tmp_path: Path, make: Callable) -> None:
    odd = tmp_path / "odd.tsv"
    odd.write_text("label\ttext\nx\thello there\ny\tgood bye\n")
    empty = tmp_path / "empty.tsv"
    empty.write_text("label\ttext\n")
    for code, settings, path in (
        ("E1823", {}, odd), ("E1809", {}, empty), ("E1820", {"metrics": ["bleu"]}, data),
        ("E1825", {"slices": ["sauce"]}, data), ("E1101", {"slice": "source"}, data),
    ):  # fmt: skip
        with pytest.raises(DanluError) as error:
            evaluate(make(run, path, **settings))
        assert error.value.code == code
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,score\n" + "".join(f"film {at},{at / 7:.3f}\n" for at in range(60)))
    finetune(make("bert-tiny", numbers, output="runs/n", **TINY, train={"steps": 2, "batch": 8}))
    for against, path in (("runs/n", data), ("runs/n", None)):
        with pytest.raises(DanluError) as error:
            evaluate(make(*[each for each in (run, path) if each], against=against))
        assert error.value.code == "E1822"
    (run.path / "predictions.jsonl").unlink()
    with pytest.raises(DanluError, match="E1824"):
        evaluate(make(run, against=run))
    with pytest.raises(DanluError, match="E1005"):
        evaluate(make(run))


def test_labels_that_training_never_saw_are_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path / "some.tsv", 30)
    path.write_text(path.read_text() + "odd\ta film\tweb\n")
    assert main(["evaluate", str(run), str(path), "lang=en"]) == 0
    assert "labels that training never saw count as wrong: odd (1)" in capsys.readouterr().err


def test_several_seeds_lie_beside_each_other(data: Path, make: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    call = make("bert-tiny", data, output="runs/s", seeds=2, seed=5, **TINY, **BRIEF)
    finetune(call)
    run = Run(Path("runs/s"))
    assert run.state == "finished"
    each = [
        {(row["name"], row["data"]): row["value"] for row in read_results(run.path / f"seed-{at}")} for at in (5, 6)
    ]
    accuracy = next(row for row in run.results if (row["name"], row["data"]) == ("accuracy", "test"))
    values = [found["accuracy", "test"] for found in each]
    assert accuracy["value"] == pytest.approx(sum(values) / 2)
    assert accuracy["values"] == values
    assert (accuracy["worst"], accuracy["best"]) == (min(values), max(values))
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert "Several seeds" in (run.path / "report.html").read_text()
    assert danlu.load(run).classify("a good film").value in ("pos", "neg")


def test_a_search_ends_in_a_run(data: Path, make: Callable) -> None:
    pytest.importorskip("optuna")
    space = {"train.lr": [1e-5, 3e-3]}
    finetune(make("bert-tiny", data, output="runs/q", search={"trials": 2, "space": space}, **TINY,
                  train={"epochs": 3, "lr": 1e-5, "batch": 16}, data=BRIEF["data"]))  # fmt: skip
    run = Run(Path("runs/q"))
    assert run.state == "finished"
    found = json.loads((run.path / "search.json").read_text())
    assert next(row["params"]["train.lr"] for row in found["trials"]) == 1e-5
    assert {row["data"] for row in run.results} == {"validation", "test"}
    assert not any(row["data"] == "test" for row in read_results(run.path / "trials" / "trial-000"))
    assert "The search" in (run.path / "report.html").read_text()
    assert "search" in (run.path / "config.yaml").read_text()
