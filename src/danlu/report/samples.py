"""What the model said while it learned: samples.json, the newest in sight."""

from typing import Any

from danlu.report.html import Html, Section, element, fold, join, panel
from danlu.report.record import Record, Row, is_number
from danlu.voice import Voice

MAX_ROWS, IN_SIGHT = 200, 6


def samples_section(record: Record, voice: Voice) -> Section | None:
    """Continued texts with their prompts, sentences with their masks filled."""
    if not record.samples:
        return None
    rows = [_sample(row, voice) for row in record.samples[-MAX_ROWS:]]
    shown, hidden = rows[-IN_SIGHT:], rows[:-IN_SIGHT]
    earlier = fold(voice.pick(f"{len(hidden)} earlier", f"更早的 {len(hidden)} 条"), join(hidden)) if hidden else None
    note = voice.pick("What the model wrote at that step; the prompt is in grey.", "模型在该步写出的内容；灰色为提示。")
    return Section("samples", voice.pick("Samples while training", "训练中的样本"), panel(earlier, *shown), note)


def _sample(row: Row, voice: Voice) -> Html:
    when = element("div", voice.pick(f"step {row.get('step')}", f"第 {row.get('step')} 步"), class_="when")
    prompt, fills = str(row.get("prompt", "")), row.get("fills")
    if isinstance(fills, list):
        chips = [_fill(fill) for fill in fills if isinstance(fill, dict)]
        text = element("div", prompt, element("div", *chips, class_="fills"), class_="text")
    else:
        text = element("div", element("em", prompt), str(row.get("text", "")), class_="text")
    return element("div", when, text, class_="sample")


def _fill(fill: dict[str, Any]) -> Html:
    chance = fill["probability"] if is_number(fill.get("probability")) else 0.0
    return element("span", f"{fill.get('token')} {chance:.0%}", style=f"--p:{chance:.3f}")
