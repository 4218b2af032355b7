"""What a report says of a search and of several seeds."""

import json
from pathlib import Path

import pytest

from danlu.report.run import write_report


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("verb: finetune\ntask: classify\nstart: bert-tiny\n")
    return tmp_path


def trial(number: int, lr: float, value: float | None, state: str = "done") -> dict[str, object]:
    params = {"train.lr": lr, "train.batch": 16 * (1 + number % 2)}
    return {"number": number, "params": params, "state": state, "value": value, "looks": [0.5], "seconds": 12.3}


def test_trials_the_best_first_and_what_the_choice_is_worth(run: Path) -> None:
    trials = [trial(0, 1e-4, 0.8), trial(1, 3e-4, 0.9), trial(2, 1e-5, None, "pruned"), trial(3, 2e-4, 0.85)]
    record = {
        "metric": "accuracy", "best": 1, "trials": trials,
        "space": {"train.lr": {"low": 1e-5, "high": 1e-3, "log": True, "whole": False}, "train.batch": [16, 32]},
        "expected": {"value": 0.87, "low": 0.8, "high": 0.93, "count": 100, "level": 0.95},
    }  # fmt: skip
    (run / "search.json").write_text(json.dumps(record))
    page = write_report(run, "en").read_text()
    for words in (
        "The search",
        "4 trials, judged by accuracy",
        "given up",
        "87.00%",
        "expected on other rows",
        "train.lr",
    ):
        assert words in page
    rows = page[page.index("trials, the best first") :]
    assert rows.index("90.00%") < rows.index("85.00%") < rows.index("80.00%") < rows.index("given up")
    assert "超参数搜索" in write_report(run, "zh").read_text()


def test_seeds_with_their_spread(run: Path) -> None:
    row = {"name": "accuracy", "data": "test", "value": 0.8, "std": 0.02, "best": 0.82, "worst": 0.78, "count": 50,
           "low": 0.7, "high": 0.88, "values": [0.78, 0.8, 0.82], "seeds": 3}  # fmt: skip
    (run / "seeds.json").write_text(json.dumps({"runs": ["seed-0", "seed-1", "seed-2"], "rows": [row]}))
    page = write_report(run, "en").read_text()
    for words in ("Several seeds", "2.00%", "78.00%  80.00%  82.00%", "70.00% – 88.00%", "seed-0, seed-1, seed-2"):
        assert words in page
    assert "多个种子" in write_report(run, "zh").read_text()


def test_a_search_without_a_result_is_not_shown(run: Path) -> None:
    (run / "search.json").write_text(json.dumps({"metric": "accuracy", "trials": [trial(0, 1e-4, None, "failed")]}))
    (run / "seeds.json").write_text("{}")
    page = write_report(run, "en").read_text()
    assert "The search" not in page
    assert "Several seeds" not in page
