"""What evaluation.json says about a model, in words, numbers and bars."""

import math

from danlu.report.html import Section, element, fold, join, panel, table
from danlu.report.plots import Bar, bars
from danlu.report.record import Record, Row, is_number
from danlu.tasks.metrics import MEASURES
from danlu.voice import Voice

# What is counted: rows of results say which.
UNITS = {
    "rows": ("rows", "行"),
    "documents": ("documents", "篇文档"),
    "blocks": ("blocks of text", "个文本块"),
    "pairs": ("pairs", "对"),
}
PARTS = {"held out": ("held out", "留出部分"), "validation": ("validation", "验证集"), "test": ("test", "测试集")}


def quality_section(record: Record, voice: Voice) -> Section | None:
    results = measured_rows(record)
    if not results:
        return None
    words = (
        ("data", "数据"), ("measure", "指标"), ("value", "数值"), ("interval", "区间"), ("measured on", "评测样本"),
    )  # fmt: skip
    head = [voice.pick(*pair) for pair in words]
    rows, before = [], None
    for row in sorted(results, key=lambda row: _place(row, results)):
        data = str(row.get("data", ""))
        shown = data_name(data, voice) if data != before else ""
        cells = measure_name(str(row["name"]), voice), value_text(row), interval_text(row), count_text(row, voice)
        rows.append([shown, *cells])
        before = data
    parts = [panel(table(head, rows, numeric=(2, 3, 4)))]
    pairs = record.evaluation.get("pairs") or {}
    groups = [_bar(name, each) for name, each in (pairs.get("groups") or {}).items()]
    paradigms = [_bar(name, each) for name, each in (pairs.get("paradigms") or {}).items()]
    if groups or paradigms:
        title = element(
            "h3",
            voice.pick(
                "minimal pairs: % preferred rightly (dashed: chance)", "最小对立对：判断正确的百分比（虚线为随机水平）"
            ),
        )
        every = (
            fold(
                voice.pick(f"all {len(paradigms)} paradigms", f"全部 {len(paradigms)} 个范式"),
                bars(paradigms, high=100),
            )
            if paradigms
            else None
        )
        parts.append(panel(title, bars(groups, high=100) if groups else None, every))
    note = voice.pick(
        "Intervals: 95 %, bootstrap over what was measured on. One row alone has no spread, so no interval.",
        "区间：95%，对评测样本自助抽样。只有一个样本时没有离散程度，因而没有区间。",
    )
    return Section("quality", voice.pick("Measured quality", "质量评测"), join(parts), note)


def _place(row: Row, results: list[Row]) -> int:
    """Rows of one file together: where the first of them stands."""
    return next(at for at, each in enumerate(results) if each.get("data") == row.get("data"))


def measured_rows(record: Record) -> list[Row]:
    results = record.evaluation.get("results")
    rows = results if isinstance(results, list) else []
    return [row for row in rows if isinstance(row, dict) and is_number(row.get("value"))]


def measure_name(name: str, voice: Voice) -> str:
    return voice.pick(MEASURES[name].en, MEASURES[name].zh) if name in MEASURES else name.replace("_", " ")


def write(name: str, value: float) -> str:
    return MEASURES[name].write(value) if name in MEASURES else f"{value:.4g}"


def value_text(row: Row) -> str:
    return write(str(row["name"]), row["value"])


def interval_text(row: Row) -> str:
    low, high = row.get("low"), row.get("high")
    if not (is_number(low) and is_number(high) and math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{write(str(row.get('name')), low)} – {write(str(row.get('name')), high)}"


def count_text(row: Row, voice: Voice) -> str:
    """How many of what: 1,821 rows."""
    if not is_number(row.get("count")):
        return ""
    unit = UNITS.get(str(row.get("unit")))
    return f"{row['count']:,}" + (f" {voice.pick(*unit)}" if unit else "")


def data_name(name: str, voice: Voice) -> str:
    """The parts of a run's own data in words; a file by its name."""
    return voice.pick(*PARTS[name]) if name in PARTS else name


def _bar(name: str, row: Row) -> Bar:
    low, high = (100 * row[end] if is_number(row.get(end)) else None for end in ("low", "high"))
    return Bar(name.replace("_", " "), 100 * row["value"], low, high, level=50.0)
