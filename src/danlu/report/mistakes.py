"""What a model card says of a classifier's answers: other runs, labels, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.report.answers import VERDICTS, answered
from danlu.report.quality import data_name, interval_text, measure_name, write
from danlu.report.record import Record, Row, is_number
from danlu.voice import Voice

MOST = 20  # labels

Table = tuple[str, list[str], list[list[str]]]  # title, head, rows


def tables(record: Record, voice: Voice) -> list[Table]:
    """Of the file that counts most."""
    found = [_against(record, voice)]
    if parts := answered(record):
        data, details = parts[0]
        found += [_labels(details, data_name(data, voice), voice), _calibration(details, voice)]
    return [each for each in found if each and each[2]]


def _against(record: Record, voice: Voice) -> Table:
    words = (
        ("against", "对比"),
        ("data", "数据"),
        ("measure", "指标"),
        ("difference", "差值"),
        ("interval", "区间"),
        ("", ""),
    )
    found = [row for row in record.evaluation.get("comparisons") or [] if is_number(row.get("value"))]
    rows = [[f"`{row.get('against')}`", *_compared(row, voice)] for row in found]
    return voice.pick("Against other runs", "与其他运行对比"), [voice.pick(*pair) for pair in words], rows


def _compared(row: Row, voice: Voice) -> list[str]:
    name, gap = str(row["name"]), ("+" if row["value"] > 0 else "") + write(str(row["name"]), row["value"])
    where = data_name(str(row.get("data", "")), voice)
    return [where, measure_name(name, voice), gap, interval_text(row), _verdict(row, voice)]


def _labels(details: Mapping[str, Any], data: str, voice: Voice) -> Table:
    found: Sequence[Row] = details.get("labels") or []
    words = (("label", "标签"), ("count", "数量"), ("precision", "精确率"), ("recall", "召回率"), ("F1", "F1"))
    rows = [[str(row["label"]), f"{row['count']:,}", *(_share(row.get(name)) for name in ("precision", "recall", "f1"))]
            for row in found[:MOST]]  # fmt: skip
    return voice.pick(f"Labels ({data})", f"各标签（{data}）"), [voice.pick(*pair) for pair in words], rows


def _calibration(details: Mapping[str, Any], voice: Voice) -> Table:
    words = (("probability it gave", "模型给出的概率"), ("share of right answers", "答对的比例"), ("rows", "行数"))
    rows = [
        [_share(row["chance"]), _share(row["right"]), f"{row['count']:,}"] for row in details.get("calibration") or []
    ]
    return voice.pick("Calibration", "校准"), [voice.pick(*pair) for pair in words], rows


def _share(value: Any) -> str:
    return f"{value:.1%}" if is_number(value) else "—"


def _verdict(row: Row, voice: Voice) -> str:
    en, zh, _ = VERDICTS.get(str(row.get("verdict")), (str(row.get("verdict")),) * 3)
    return voice.pick(en, zh)
