"""A search over settings: what it tries, what it keeps, and that it goes on where it was interrupted."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError, Problems
from danlu.evaluate.predictions import Prediction, write_predictions
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.finetuning.trials import search as searching
from danlu.recipes.finetuning.trials.job import Job, Watch
from danlu.recipes.finetuning.trials.search import best_of, folder_of, read, search
from danlu.recipes.finetuning.trials.settings import Range
from danlu.recipes.finetuning.trials.space import usual
from danlu.recipes.runs.folder import Run, add_results
from danlu.settings import build
from danlu.tasks import TASKS
from danlu.tasks.metrics import METRICS
from danlu.voice import Voice

pytest.importorskip("optuna")
QUIET = Voice("en", quiet=True)
ROWS = 40


@dataclass
class Pretended:
    """Runs whose accuracy is best at a rate of 3e-4, without a model."""

    stop_at: int | None = None
    fail_at: tuple[int, ...] = ()
    done: list[int] = field(default_factory=list)

    def __call__(self, settings: Finetune, run: Run, made: Any, voice: Voice, watch: Watch | None) -> None:
        number = int(run.path.name.rpartition("-")[2])
        assert made.test == [], "no trial may see the test part"
        if number == self.stop_at:
            self.stop_at = None
            raise KeyboardInterrupt
        if number in self.fail_at:
            raise DanluError("E1505", where=run.path)
        right = int(ROWS * math.exp(-abs(math.log((settings.train.lr or 1) / 3e-4))))
        for look in range(1, 6):
            assert watch
            watch({"accuracy": right / ROWS * look / 5})
            with (run.path / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": look, "evaluation": {"accuracy": right / ROWS * look / 5}}) + "\n")
        said = ["a"] * right + ["b"] * (ROWS - right)
        write_predictions(
            run.path / "predictions.jsonl", [Prediction(at, "", at, "", "", each, "a") for at, each in enumerate(said)]
        )
        add_results(run.path, [{"name": "accuracy", "data": "validation", "value": right / ROWS}])
        for part in ("model", "checkpoints"):
            (run.path / part).mkdir()
            (run.path / part / "file").write_text("x")
        (run.path / "README.md").write_text("x")
        self.done.append(number)


@dataclass(frozen=True)
class Rows:
    task: Any = TASKS["classify"]
    validation: tuple[int, ...] = (1,)
    test: Any = ()


def job(folder: Path, runs: Callable[..., Any], **more: Any) -> Job:
    settings = build(Finetune, {
        "start": "bert-tiny", "data": {"paths": ["x.tsv"]}, "seed": 3, "search": {"trials": 8},
        "train": {"lr": 1e-4, "epochs": 3, "batch": 32}, **more,
    })  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Job(settings, Run(folder), Rows(), runs)  # type: ignore[arg-type]


def params(folder: Path) -> list[Mapping[str, Any]]:
    return [row["params"] for row in read(folder)]


def test_the_first_trial_is_what_would_be_done_anyway_and_the_best_becomes_the_run(tmp_path: Path) -> None:
    made = Pretended()
    found = search(job(tmp_path / "x", made), QUIET)
    rows = read(tmp_path / "x")
    assert len(rows) == 8
    assert (rows[0]["params"]["train.lr"], rows[0]["params"]["train.batch"]) == (1e-4, 32)
    best = best_of(rows, METRICS["accuracy"])
    assert best
    assert best["value"] > rows[0]["value"]
    assert found.train.lr == best["params"]["train.lr"]
    assert found.search is None
    assert Run(tmp_path / "x").results[0]["value"] == best["value"]
    record = json.loads((tmp_path / "x" / "search.json").read_text())
    assert record["best"] == best["number"]
    assert 0 < record["expected"]["value"] <= best["value"] + 0.02


def test_a_search_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    search(job(tmp_path / "whole", Pretended()), QUIET)
    broken = Pretended(stop_at=4)
    with pytest.raises(KeyboardInterrupt):
        search(job(tmp_path / "broken", broken), QUIET)
    assert len(read(tmp_path / "broken")) == 4
    search(job(tmp_path / "broken", broken), QUIET)
    assert params(tmp_path / "broken") == params(tmp_path / "whole")
    assert broken.done == sorted(set(broken.done)), "nothing was done twice"


def test_another_seed_tries_something_else(tmp_path: Path) -> None:
    search(job(tmp_path / "x", Pretended()), QUIET)
    search(job(tmp_path / "y", Pretended(), seed=4), QUIET)
    assert params(tmp_path / "x")[1:] != params(tmp_path / "y")[1:]


def test_models_that_nobody_wants_are_not_kept(tmp_path: Path) -> None:
    search(job(tmp_path / "x", Pretended()), QUIET)
    best = json.loads((tmp_path / "x" / "search.json").read_text())["best"]
    kept = [number for number in range(8) if (folder_of(tmp_path / "x", number) / "model").is_dir()]
    assert kept == sorted({0, best})
    assert not list((tmp_path / "x").glob("trials/*/checkpoints"))


def test_trials_that_fall_behind_are_given_up(tmp_path: Path) -> None:
    space = {"train.lr": [3e-4, 1e-9]}
    search(job(tmp_path / "x", Pretended(), search={"trials": 12, "space": space}, train={"lr": 3e-4}), QUIET)
    states = {row["state"] for row in read(tmp_path / "x") if row["params"]["train.lr"] == 1e-9}
    assert "pruned" in states
    search(
        job(tmp_path / "y", Pretended(), search={"trials": 12, "space": space, "prune": False}, train={"lr": 3e-4}),
        QUIET,
    )
    assert {row["state"] for row in read(tmp_path / "y")} == {"done"}


def test_a_trial_that_fails_is_passed_over(tmp_path: Path) -> None:
    search(job(tmp_path / "x", Pretended(fail_at=(0, 2))), QUIET)
    rows = read(tmp_path / "x")
    assert [row["number"] for row in rows if row["state"] == "failed"] == [0, 2]
    assert rows[2]["note"].startswith("E1505")
    with pytest.raises(DanluError, match="E1833"):
        search(job(tmp_path / "y", Pretended(fail_at=tuple(range(8)))), QUIET)


def test_what_cannot_be_searched_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Pretended()
    for space, code in (
        ({"train.rl": [1, 2]}, "E1101"),
        ({"train.batch": {"low": -4, "high": 8, "whole": True}}, "E1102"),
    ):
        with pytest.raises(DanluError) as error:
            search(job(tmp_path / "x", made, search={"space": space}), QUIET)
        problems = error.value.problems if isinstance(error.value, Problems) else [error.value]
        assert problems[0].code == code
    nothing = job(tmp_path / "x", made)
    with pytest.raises(DanluError, match="E1831"):
        search(Job(nothing.settings, nothing.run, Rows(validation=()), made), QUIET)  # type: ignore[arg-type]
    monkeypatch.setattr("danlu.recipes.finetuning.trials.space.find_spec", lambda name: None)
    with pytest.raises(DanluError, match="E1830"):
        search(job(tmp_path / "x", made), QUIET)
    assert made.done == []


def test_the_usual_space_lies_around_the_defaults() -> None:
    found = usual({"train": {"lr": 2e-4, "epochs": 4.0, "batch": 32}})
    rate, epochs = found["train.lr"], found["train.epochs"]
    assert isinstance(rate, Range)
    assert (rate.low, rate.high, rate.log) == (5e-5, 8e-4, True)
    assert isinstance(epochs, Range)
    assert (epochs.low, epochs.high, epochs.whole) == (2, 8, True)
    assert found["train.batch"] == (16, 32, 64)
    assert "train.epochs" not in usual({"train": {"lr": 2e-4, "steps": 100, "batch": 32}})


def test_one_word_says_that_there_shall_be_a_search() -> None:
    told = {"start": "x", "train": {"lr": 1e-4}}
    assert build(Finetune, told | {"search": 5}).search.trials == 5  # type: ignore[union-attr]
    assert build(Finetune, told | {"search": True}).search.trials == 20  # type: ignore[union-attr]
    assert build(Finetune, told).search is None
    nested = build(
        Finetune,
        told | {"search": {"space": {"train": {"lr": [1e-5, 1e-4]}, "loss": {"smoothing": {"low": 0, "high": 0.2}}}}},
    )
    assert nested.search is not None
    assert nested.search.space["train.lr"] == (1e-5, 1e-4)
    assert nested.search.space["loss.smoothing"] == Range(low=0, high=0.2)


def test_trials_are_one_run_each(tmp_path: Path) -> None:
    assert folder_of(tmp_path, 7) == tmp_path / "trials" / "trial-007"
    assert read(tmp_path) == []
    (tmp_path / searching.RECORD).write_text("{broken")
    assert read(tmp_path) == []
