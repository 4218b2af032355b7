import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError, Language
from danlu.report.record import Record, read_metrics, read_record
from danlu.report.run import run_report, write_report
from danlu.voice import Voice

Reader = Callable[[str], Any]
WORDS = {
    "en": [
        "In short",
        "Training",
        "Measured quality",
        "Samples while training",
        "Every row of data",
        "What happened on the way",
        "Settings",
    ],
    "zh": ["概览", "训练过程", "质量评测", "训练中的样本", "每一行数据的去向", "途中事件", "设置"],
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_whole_run(run_folder: Path, read_page: Reader, language: Language) -> None:
    path = write_report(run_folder, language)
    text = path.read_text(encoding="utf8")
    tree = read_page(text)
    for words in WORDS[language]:
        assert words in tree.text
    for fact in (
        "3.4758",
        "1.4120",
        "1.3910 – 1.4330",
        "19.7M",
        "13.9M",
        "8:24",
        "9,100",
        "back to step 650",
        "signal SIGTERM",
        "2026-05-01 12:09:40",
        "night 61%",
    ):
        assert fact in tree.text
    assert "<script>alert(1)</script>" in tree.text, "hostile text is shown as text"
    assert tree.tags.count("svg") == 5
    assert len(text) < 150_000


def test_empty_files_make_a_page_too(tmp_path: Path, read_page: Reader) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    read_page(write_report(tmp_path, "en").read_text(encoding="utf8"))


def test_sections_appear_with_their_files(read_page: Reader) -> None:
    def sections(record: Record) -> int:
        return read_page(run_report(record, Voice("en"))).tags.count("section")

    assert sections(Record(Path("x"))) == 0
    assert sections(Record(Path("x"), config={"seed": 1})) == 1
    assert sections(Record(Path("x"), ledger={"trained": 3})) == 1
    assert sections(Record(Path("x"), samples=[{"step": 1, "prompt": "a", "text": "b"}])) == 1


@pytest.mark.parametrize(
    "name", ["samples.json", "evaluation.json", "ledger.json", "model/danlu.json", "metrics.jsonl"]
)
@pytest.mark.parametrize(
    "content",
    [
        b"[1, 2",
        b'{"a": [{}], "results": 3, "pairs": []}',
        b"\xff\xfe",
        b"[[[]]]",
        b'{"dropped": {"a": "b"}, "step": 3}',
    ],
)
def test_damaged_files_do_not_stop_the_report(tmp_path: Path, read_page: Reader, name: str, content: bytes) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1")
    (tmp_path / "model").mkdir()
    (tmp_path / name).write_bytes(content)
    read_page(write_report(tmp_path, "zh").read_text(encoding="utf8"))


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(DanluError) as error:
        read_record(tmp_path)
    assert error.value.code == "E1801"


def test_metrics_keep_the_last_of_each_step_and_count_torn_lines(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 9.0},
        {"step": 2, "event": "rollback"},
        {"step": 2, "loss": 2.0},
    ]
    rows.append({"step": 2, "evaluation": {"loss": 2.5}})
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 3, "lo', encoding="utf8")
    metrics = read_metrics(path)
    assert metrics.curve("loss") == ([1, 2], [3, 2])
    assert metrics.validation("loss") == ([2], [2.5])
    assert (len(metrics.events), metrics.broken) == (1, 1)
    assert metrics.names() == ["step", "loss"]


def test_a_loss_for_each_objective_gets_its_own_chart() -> None:
    def charts(*names: str) -> int:
        record = Record(Path("x"), metrics=read_metrics(Path("nowhere")))
        steps = [{"step": at, "loss": 1.0} | {f"{name}_loss": 0.5 for name in names} for at in range(3)]
        record = Record(Path("x"), metrics=type(record.metrics)(steps))
        return run_report(record, Voice("en")).count("<svg")

    assert (charts("mlm"), charts("mlm", "nsp")) == (1, 2)
