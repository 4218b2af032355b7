"""What evaluation.json says about a model, in words, numbers and bars."""

from danlu.report.html import Section, element, fold, join, panel, table
from danlu.report.plots import Bar, bars
from danlu.report.record import Record, Row, is_number
from danlu.voice import Voice

# What evaluation.json may hold: name, words, form of the value.
MEASURES = {
    "loss": ("loss (nats a token)", "损失（每词元 nat）", "{:.4f}"),
    "perplexity": ("perplexity", "困惑度", "{:.2f}"),
    "bits_per_byte": ("bits a byte", "每字节比特数", "{:.4f}"),
    "accuracy": ("accuracy", "准确率", "{:.2%}"),
    "masked_accuracy": ("accuracy at masks", "掩码处准确率", "{:.2%}"),
    "pairs": ("minimal pairs", "最小对立对", "{:.2%}"),
}


def quality_section(record: Record, voice: Voice) -> Section | None:
    results = measured_rows(record)
    if not results:
        return None
    head = [
        voice.pick(*words)
        for words in (("measure", "指标"), ("value", "数值"), ("interval", "区间"), ("of", "样本数"), ("data", "数据"))
    ]
    rows = [
        [
            measure_name(str(row["name"]), voice),
            value_text(row),
            interval_text(row),
            _count(row),
            str(row.get("data", "")),
        ]
        for row in results
    ]
    parts = [panel(table(head, rows, numeric=(1, 2, 3)))]
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
    note = voice.pick("Intervals: 95 %, bootstrap over rows.", "区间：95%，对样本行自助抽样。")
    return Section("quality", voice.pick("Measured quality", "质量评测"), join(parts), note)


def measured_rows(record: Record) -> list[Row]:
    results = record.evaluation.get("results")
    rows = results if isinstance(results, list) else []
    return [row for row in rows if isinstance(row, dict) and is_number(row.get("value"))]


def measure_name(name: str, voice: Voice) -> str:
    return voice.pick(*MEASURES[name][:2]) if name in MEASURES else name.replace("_", " ")


def _form(row: Row) -> str:
    return MEASURES[row["name"]][2] if row.get("name") in MEASURES else "{:.4g}"


def value_text(row: Row) -> str:
    return _form(row).format(row["value"])


def interval_text(row: Row) -> str:
    if not (is_number(row.get("low")) and is_number(row.get("high"))):
        return ""
    return f"{_form(row).format(row['low'])} – {_form(row).format(row['high'])}"


def _count(row: Row) -> str:
    return f"{row['count']:,}" if is_number(row.get("count")) else ""


def _bar(name: str, row: Row) -> Bar:
    low, high = (100 * row[end] if is_number(row.get(end)) else None for end in ("low", "high"))
    return Bar(name.replace("_", " "), 100 * row["value"], low, high, level=50.0)
