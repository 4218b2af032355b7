"""The course of a run: curves, what happened on the way, where the time went."""

from collections.abc import Sequence
from typing import Any

from danlu.report.html import Html, Section, element, join, panel, table
from danlu.report.plots import Line, Mark, lines, shares
from danlu.report.quality import measure_name
from danlu.report.record import Record, Row
from danlu.voice import Voice

MAX_ROWS = 200  # of a table in the page; the files hold all

# The small charts beside the loss: a logged number, its title, whether its axis starts at nothing.
CURVES = (
    ("tokens_per_second", "tokens a second", "每秒词元数", True),
    ("lr", "learning rate", "学习率", True),
    ("grad_norm", "gradient norm", "梯度范数", False),
)
# What metrics.jsonl and journal.jsonl call an event.
EVENTS = {
    "started": ("started", "开始"),
    "resumed": ("resumed", "恢复训练"),
    "interrupted": ("left in between", "中途离开"),
    "done": ("finished", "完成"),
    "early": ("stopped early", "提前停止"),
    "rollback": ("rolled back", "回滚"),
    "skipped": ("step skipped", "跳过一步"),
    "out of memory": ("out of memory", "内存不足"),
    "changed": ("settings changed", "设置已更改"),
    "could not save": ("could not save", "无法保存"),
    "saved again": ("saved again", "恢复保存"),
    "damaged checkpoint": ("damaged checkpoint", "检查点损坏"),
}
UNSHOWN = ("seconds", "tokens", "count", "cost")  # of evaluations: no measure of the model
MARKED = ("rollback", "resumed", "out of memory")  # worth a line in the chart of the loss


def curves_section(record: Record, voice: Voice) -> Section | None:
    """Loss large, everything else that was logged small."""
    metrics = record.metrics
    if not metrics.steps and not metrics.evaluations:
        return None
    step = voice.pick("step", "步")
    curves = [Line(voice.pick("training", "训练"), *metrics.curve("loss"), style="smooth")] if metrics.steps else []
    if metrics.evaluations:
        curves.append(Line(voice.pick("validation", "验证"), *metrics.validation("loss"), style="dots"))
    title = element("h3", voice.pick("loss, nats a target (logarithmic)", "损失，每目标 nat（对数轴）"))
    loss = panel(title, lines(curves, step, _marks(record, voice), log=True, height=320))
    small = [*_logged(record, voice, step), *_by_objective(record, voice, step), *_evaluated(record, voice, step)]
    body = join([loss, element("div", *small, class_="grid") if small else None])
    note = voice.pick("Hover or touch a chart to read values.", "将指针移到图上（或触摸）即可读数。")
    return Section("curves", voice.pick("Training", "训练过程"), body, note)


def events_section(record: Record, voice: Voice) -> Section | None:
    """Events of training (rollbacks, skipped steps) and of the process (started, resumed), by step."""
    events = sorted([*record.journal, *record.metrics.events], key=lambda row: float(row.get("step") or 0))
    if not events:
        return None
    head = [voice.pick(*words) for words in (("step", "步"), ("event", "事件"), ("detail", "详情"), ("time", "时间"))]
    rows = [
        [f"{row['step']:,}" if row.get("step") else "", _event(row, voice), _detail(row), _clock(row)]
        for row in events[-MAX_ROWS:]
    ]
    return Section("events", voice.pick("What happened on the way", "途中事件"), panel(table(head, rows)))


def timings_section(record: Record, voice: Voice) -> Section | None:
    """Where the time went, if parts of a step were logged as `<part>_seconds`."""
    parts = [name for name in record.metrics.names() if name.endswith("_seconds")]
    totals = [(name.removesuffix("_seconds").replace("_", " "), sum(record.metrics.curve(name)[1])) for name in parts]
    if sum(total for _, total in totals) <= 0:
        return None
    rows = table([voice.pick("part", "部分"), ""], [[name, f"{total:.1f} s"] for name, total in totals], numeric=(1,))
    return Section("timings", voice.pick("Where the time went", "时间去向"), panel(shares(totals), rows))


def _logged(record: Record, voice: Voice, step: str) -> list[Html]:
    found = []
    for name, en, zh, zero in CURVES:
        curve = record.metrics.curve(name)
        if curve[1]:
            line = Line(voice.pick(en, zh), *curve, style="line" if name == "lr" else "smooth")
            found.append(_chart(line.name, [line], step, zero=zero))
    return found


def _by_objective(record: Record, voice: Voice, step: str) -> list[Html]:
    names = [name for name in record.metrics.names() if name.endswith("_loss")]
    if len(names) < 2:
        return []
    curves = [Line(name.removesuffix("_loss"), *record.metrics.curve(name), style="smooth") for name in names]
    return [_chart(voice.pick("loss by objective", "各目标损失"), curves, step, log=True)]


def _evaluated(record: Record, voice: Voice, step: str) -> list[Html]:
    """What evaluations measured beside losses."""
    names = list({name: None for row in record.metrics.evaluations for name in row["evaluation"]})
    found = []
    for name in names:
        curve = record.metrics.validation(name)
        if len(curve[1]) > 1 and not name.endswith("loss") and name not in UNSHOWN:
            words = measure_name(name, voice)
            title = f"{words} · {voice.pick('validation', '验证')}"
            found.append(_chart(title, [Line(words, *curve)], step))
    return found


def _chart(title: str, curves: Sequence[Line], step: str, log: bool = False, zero: bool = False) -> Html:
    return panel(element("h3", title), lines(curves, step, log=log, zero=zero))


def _marks(record: Record, voice: Voice) -> list[Mark]:
    events = [*record.metrics.events, *record.journal]
    return [Mark(_event(row, voice), row["step"]) for row in events if row["event"] in MARKED and row.get("step")]


def _event(row: Row, voice: Voice) -> str:
    name = str(row["event"])
    return voice.pick(*EVENTS[name]) if name in EVENTS else name.replace("_", " ")


def _detail(row: Row) -> str:
    if "detail" in row:
        return _plain(row["detail"])
    return _plain({name: row[name] for name in row if name not in ("step", "event", "time") and row[name] is not None})


def _plain(detail: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items()) if isinstance(detail, dict) else str(detail)


def _clock(row: Row) -> str:
    return str(row.get("time", "")).replace("T", " ")[:19]
