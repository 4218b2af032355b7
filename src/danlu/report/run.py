"""The report of a run: report.html, from whatever the run folder holds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from danlu.errors import Language
from danlu.files import replace_file
from danlu.report.html import Html, Section, element, fold, join, page, panel, table
from danlu.report.plots import Line, Mark, lines, shares
from danlu.report.quality import measure_name, quality_section
from danlu.report.record import Record, Row, read_record
from danlu.report.rows import ledger_section
from danlu.report.summary import summary_section
from danlu.settings import to_yaml
from danlu.voice import Voice

MAX_ROWS = 200  # of a table in the page; the files hold all

# The small charts beside the loss: a logged number, its title, whether its axis starts at nothing.
CURVES = (
    ("tokens_per_second", "tokens a second", "每秒词元数", True),
    ("lr", "learning rate", "学习率", True),
    ("grad_norm", "gradient norm", "梯度范数", False),
)
EVENTS = {
    "resume": ("resumed", "恢复训练"),
    "resumed": ("resumed", "恢复训练"),
    "rollback": ("rolled back", "回滚"),
    "skip": ("step skipped", "跳过一步"),
    "spike": ("loss spike", "损失尖峰"),
    "memory": ("micro-batch halved", "微批减半"),
    "disk": ("disk full", "磁盘已满"),
    "stop": ("stopped", "停止"),
    "best": ("best model so far", "目前最佳模型"),
}


def write_report(folder: Path, language: Language) -> Path:
    """Write report.html into a run folder and return its path. E1801 where the folder holds no run."""
    path = folder / "report.html"
    replace_file(path, run_report(read_record(folder), Voice(language)))
    return path


def run_report(record: Record, voice: Voice) -> str:
    """The page of one run."""
    sections = [section for make in SECTIONS if (section := make(record, voice))]
    return page(
        record.name, sections, voice, lead=_lead(record, voice), kind=voice.pick("a run of danlu", "丹炉的一次运行")
    )


def _lead(record: Record, voice: Voice) -> str:
    start = record.config.get("start") or record.danlu.get("family")
    words = [str(start)] if start else []
    if objectives := record.config.get("objective"):
        words.append(" + ".join(objectives) if isinstance(objectives, dict) else str(objectives))
    if paths := record.section("data").get("paths"):
        words.append(", ".join(Path(str(path)).name for path in (paths if isinstance(paths, list) else [paths])[:4]))
    return " · ".join(words)


def _curves(record: Record, voice: Voice) -> Section | None:
    metrics = record.metrics
    if not metrics.steps and not metrics.evaluations:
        return None
    step = voice.pick("step", "步")
    marks = [Mark(_event(row, voice), row["step"]) for row in metrics.events if row["event"] != "best"]
    curves = [Line(voice.pick("training", "训练"), *metrics.curve("loss"), style="smooth")] if metrics.steps else []
    if metrics.evaluations:
        curves.append(Line(voice.pick("validation", "验证"), *metrics.validation("loss"), style="dots"))
    loss = element("h3", voice.pick("loss, nats a target (logarithmic)", "损失，每目标 nat（对数轴）"))
    parts = [panel(loss, lines(curves, step, marks, log=True, height=320))]
    small = [
        panel(
            element("h3", voice.pick(en, zh)),
            lines(
                [Line(voice.pick(en, zh), *metrics.curve(name), style="line" if name == "lr" else "smooth")],
                step,
                zero=zero,
            ),
        )
        for name, en, zh, zero in CURVES
        if metrics.curve(name)[1]
    ]
    own = [name for name in metrics.names() if name.endswith("_loss")]
    if len(own) > 1:
        each = [Line(name.removesuffix("_loss"), *metrics.curve(name), style="smooth") for name in own]
        small.append(panel(element("h3", voice.pick("loss by objective", "各目标损失")), lines(each, step, log=True)))
    if measured := _validation_curves(record, voice, step):
        small += measured
    body = join([*parts, element("div", *small, class_="grid") if small else None])
    return Section(
        "curves",
        voice.pick("Training", "训练过程"),
        body,
        voice.pick("Hover or touch a chart to read values.", "将指针移到图上（或触摸）即可读数。"),
    )


def _validation_curves(record: Record, voice: Voice, step: str) -> list[Html]:
    names = list({name: None for row in record.metrics.evaluations for name in row["evaluation"] if name != "loss"})
    found = []
    for name in names:
        curve = record.metrics.validation(name)
        if len(curve[1]) > 1 and name not in ("seconds", "tokens", "count"):
            words = measure_name(name, voice)
            found.append(
                panel(element("h3", words, " · ", voice.pick("validation", "验证")), lines([Line(words, *curve)], step))
            )
    return found


def _samples(record: Record, voice: Voice) -> Section | None:
    if not record.samples:
        return None
    rows = []
    for row in record.samples[:MAX_ROWS]:
        when = voice.pick(f"step {row.get('step', '')}", f"第 {row.get('step', '')} 步")
        fills = row.get("fills")
        if isinstance(fills, list):
            chips = [
                element(
                    "span",
                    f"{fill.get('token')} {fill.get('probability', 0):.0%}",
                    style=f"--p:{fill.get('probability', 0):.3f}",
                )
                for fill in fills
                if isinstance(fill, dict)
            ]
            text = element("div", str(row.get("prompt", "")), element("div", *chips, class_="fills"), class_="text")
        else:
            text = element("div", element("em", str(row.get("prompt", ""))), str(row.get("text", "")), class_="text")
        rows.append(element("div", element("div", when, class_="when"), text, class_="sample"))
    shown, hidden = rows[-8:], rows[:-8]
    earlier = fold(voice.pick(f"{len(hidden)} earlier", f"更早的 {len(hidden)} 条"), join(hidden)) if hidden else None
    note = voice.pick("What the model wrote at that step; the prompt is in grey.", "模型在该步写出的内容；灰色为提示。")
    return Section("samples", voice.pick("Samples while training", "训练中的样本"), panel(earlier, *shown), note)


def _events(record: Record, voice: Voice) -> Section | None:
    events = record.metrics.events
    if not events:
        return None
    head = [voice.pick("step", "步"), voice.pick("event", "事件"), voice.pick("detail", "详情")]
    rows = [[f"{row['step']:,}", _event(row, voice), _plain(row.get("detail", ""))] for row in events[-MAX_ROWS:]]
    return Section("events", voice.pick("What happened on the way", "途中事件"), panel(table(head, rows)))


def _timings(record: Record, voice: Voice) -> Section | None:
    """Where the time went, if the trainer logged parts of a step as `<part>_seconds`."""
    parts = [name for name in record.metrics.names() if name.endswith("_seconds")]
    totals = [(name.removesuffix("_seconds").replace("_", " "), sum(record.metrics.curve(name)[1])) for name in parts]
    if sum(total for _, total in totals) <= 0:
        return None
    rows = [[name, f"{total:.1f} s"] for name, total in totals]
    return Section(
        "timings",
        voice.pick("Where the time went", "时间去向"),
        panel(shares(totals), table([voice.pick("part", "部分"), ""], rows, numeric=(1,))),
    )


def _settings(record: Record, voice: Voice) -> Section | None:
    if not record.config:
        return None
    command = element(
        "code", f"danlu {record.config.get('verb', 'pretrain')} {record.folder.name}/config.yaml", class_="command"
    )
    parts = [element("p", voice.pick("Repeat this run:", "重复本次运行：")), command]
    parts.append(fold(voice.pick("all settings", "全部设置"), element("pre", to_yaml(record.config))))
    if record.danlu:
        parts.append(fold(voice.pick("the model's lineage", "模型来历"), element("pre", to_yaml(record.danlu))))
    return Section("settings", voice.pick("Settings", "设置"), panel(*parts))


SECTIONS: Sequence[Callable[[Record, Voice], Section | None]] = (
    summary_section, _curves, quality_section, _samples, ledger_section, _events, _timings, _settings,
)  # fmt: skip


def _event(row: Row, voice: Voice) -> str:
    name = str(row["event"])
    return voice.pick(*EVENTS[name]) if name in EVENTS else name.replace("_", " ")


def _plain(detail: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items()) if isinstance(detail, dict) else str(detail)
