"""The ladder in a report: what each rung is worth, and what it costs."""

from typing import Any

from danlu.report.html import Section, element, join, panel, table
from danlu.report.plots import Bar, bars
from danlu.report.quality import interval_text, measure_name, write
from danlu.report.record import Record, is_number
from danlu.voice import Voice, clock

# What each rung is called, the cheapest first.
TITLES = {
    "hand": ("a prompt by hand", "手写提示"), "rules": ("a prompt made by rules", "规则提示"),
    "searched": ("a prompt that was searched", "搜索提示"), "soft": ("soft vectors trained", "训练软提示"),
    "lora": ("LoRA", "LoRA"), "partial": ("the last blocks trained", "训练顶部若干层"),
    "full": ("the whole model trained", "训练整个模型"),
}  # fmt: skip
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def ladder_section(record: Record, voice: Voice) -> Section | None:
    """A bar a rung with its interval, and a table of scores and prices."""
    rungs = [row for row in record.ladder.get("rungs") or [] if is_number(row.get("value"))]
    if not rungs:
        return None
    metric = str(record.ladder.get("metric"))
    chosen = record.ladder.get("recommended")
    charted = [
        Bar(_name(row, voice) + (" ←" if row["rung"] == chosen else ""), 100 * row["value"], *_ends(row))
        for row in rungs
    ]
    words = (
        ("rung", "级别"), ("score", "分数"), ("interval", "区间"), ("behind the best by", "落后最好者"),
        ("trained", "训练参数"), ("time", "用时"), ("kept beside the model", "模型之外需保存"), ("prompt", "提示"),
    )  # fmt: skip
    cells = [
        [_name(row, voice), write(metric, row["value"]), interval_text({**row, "name": metric}),
         _behind(row, metric, voice), f"{row.get('trains', 0):,}", clock(row.get("seconds", 0)),
         _size(row.get("bytes", 0)), " | ".join(row.get("prompt", [])[:1])]
        for row in rungs
    ]  # fmt: skip
    title = element("h3", f"{measure_name(metric, voice)}, %")
    note = voice.pick(
        "All rungs learnt from, chose by and were measured on the same rows. ←: the cheapest that is not shown to be "
        "worse than the best (paired rows).",
        "各级使用相同的学习、选择与评测数据。←：与最好者相比（逐行配对）未显示更差的最便宜者。",
    )
    head = [voice.pick(*pair) for pair in words]
    body = join([panel(title, bars(charted, high=100.0)), panel(table(head, cells, numeric=(1, 2, 3, 4, 5, 6)))])
    return Section("ladder", voice.pick("The ladder", "阶梯"), body, note)


def _name(row: Any, voice: Voice) -> str:
    return voice.pick(*TITLES.get(row["rung"], (row["rung"], row["rung"])))


def _ends(row: Any) -> tuple[float | None, float | None]:
    low, high = (100 * row[end] if is_number(row.get(end)) else None for end in ("low", "high"))
    return low, high


def _behind(row: Any, metric: str, voice: Voice) -> str:
    behind = row.get("behind") or {}
    if not is_number(behind.get("value")) or not behind["value"]:
        return "—"
    noise = voice.pick(" (within noise)", "（在噪声内）") if row.get("within_noise") else ""
    return f"{write(metric, behind['value'])}{noise}"


def _size(count: float) -> str:
    for unit, size in UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"
