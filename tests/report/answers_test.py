"""What a report and a card say of a classifier's answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.report.card import write_card
from danlu.report.run import known_as, write_report

HOSTILE = "<script>alert(1)</script>"


def interval(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "low": value - 0.05,
        "high": value + 0.05,
        "count": 200,
        "unit": "rows",
    } | more


def evaluation() -> dict[str, Any]:
    details = {
        "task": "classify", "metric": "accuracy", "unseen": {"odd": 3},
        "confusion": {"labels": ["bad", HOSTILE], "counts": [[90, 10], [30, 70]]},
        "labels": [{"label": "bad", "count": 100, "precision": 0.75, "recall": 0.9, "f1": 0.82},
                   {"label": HOSTILE, "count": 100, "precision": None, "recall": 0.7, "f1": 0.78}],
        "slices": {"length": [{"group": "3–9", "value": 0.9, "low": 0.8, "high": 0.95, "count": 100}],
                   "source": [{"group": "web", "value": 0.7, "count": 1}]},
        "calibration": [{"chance": 0.6, "right": 0.5, "count": 30}, {"chance": 0.95, "right": 0.9, "count": 170}],
        "worst": [{"file": "/x/test.tsv", "line": 17, "text": f"so dull {HOSTILE}", "prediction": "good",
                   "reference": "bad", "chance": 0.98, "loss": 3.9}] * 10,
    }  # fmt: skip
    comparison = interval("accuracy", 0.06, data="test", against="runs/y", verdict="no difference shown", chance=0.21)
    return {
        "results": [interval("accuracy", 0.8, data="validation"), interval("accuracy", 0.81, data="test"),
                    {"name": "loss", "value": 0.4, "count": 1, "unit": "documents", "data": "test"}],
        "answers": {"validation": details, "test": details}, "comparisons": [comparison],
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("verb: finetune\ntask: classify\nstart: bert-tiny\n")
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation()))
    return tmp_path


def test_the_report_shows_where_it_goes_wrong(run: Path) -> None:
    page = write_report(run, "en").read_text()
    for words in ("Where it goes wrong", "confusions", "each label", "accuracy by length in tokens",
                  "accuracy by source", "can its probabilities be trusted?", "test.tsv:17", "odd (3)",
                  "no difference shown", "2 more"):  # fmt: skip
        assert words in page
    assert HOSTILE not in page
    assert "nan" not in page.lower().replace("nannot", "")
    assert page.index("81.00%") < page.index("80.00%"), "the tile is of the test part"


def test_the_report_in_chinese(run: Path) -> None:
    page = write_report(run, "zh").read_text()
    for words in (
        "错在哪里",
        "混淆矩阵",
        "各标签",
        "未见差异",
        "概率是否可信",
        "验证集",
        "测试集",
        "1 篇文档",
        "按source划分的准确率",
    ):
        assert words in page


def test_the_card_has_labels_calibration_and_comparisons(run: Path) -> None:
    card = write_card(run, "en").read_text()
    for words in ("## Against other runs", "| `runs/y` | test | accuracy | +6.00% |", "## Labels (test)",
                  "## Calibration", "| 95.0% | 90.0% | 170 |",
                  "| accuracy | 81.00% | 76.00% – 86.00% | 200 rows | test |"):  # fmt: skip
        assert words in card
    assert "## 各标签（测试集）" in write_card(run, "zh").read_text()


def test_a_run_without_answers_has_no_such_part(run: Path) -> None:
    (run / "evaluation.json").write_text("{}")
    assert "Where it goes wrong" not in write_report(run, "en").read_text()
    assert "## Calibration" not in write_card(run, "en").read_text()


def test_built_in_text_goes_by_the_word_it_was_asked_for() -> None:
    assert known_as("/home/me/.cache/danlu/builtin/english-0a1b2c3d.jsonl") == "builtin:english"
    assert known_as("texts/english-0a1b2c3.jsonl") == "english-0a1b2c3.jsonl"
    assert known_as("my.txt") == "my.txt"
