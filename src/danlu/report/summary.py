"""The figures on top of a run's report: one small function a tile."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from statistics import median

from danlu.report.html import Child, Section, tiles
from danlu.report.quality import data_name, interval_text, measure_name, measured_rows, value_text
from danlu.report.record import Record, is_number, perplexity
from danlu.report.scale import short
from danlu.tasks.metrics import MEASURES
from danlu.voice import Voice, clock

Tile = tuple[str, Child, Child]  # what, value, small print
TILES_MEASURED = 3  # at most, of measures that deserve a tile


def summary_section(record: Record, voice: Voice) -> Section | None:
    facts = [tile for make in TILES for tile in make(record, voice)]
    return Section("summary", voice.pick("In short", "概览"), tiles(facts)) if facts else None


def _validation(record: Record, voice: Voice) -> Iterator[Tile]:
    steps, losses = record.metrics.validation("loss")
    if losses:
        at = min(range(len(losses)), key=lambda index: losses[index] if math.isfinite(losses[index]) else math.inf)
        loss, step = short(perplexity(losses[at])), f"{steps[at]:.0f}"
        small = voice.pick(f"perplexity {loss}, step {step}", f"困惑度 {loss}，第 {step} 步")
        if record.config.get("task"):
            small = voice.pick(f"step {step}", f"第 {step} 步")
        yield voice.pick("best validation loss", "最佳验证损失"), f"{losses[at]:.4f}", small


def _training(record: Record, voice: Voice) -> Iterator[Tile]:
    losses = record.metrics.curve("loss")[1]
    if losses:
        small = voice.pick(f"began at {losses[0]:.3f}", f"起始 {losses[0]:.3f}")
        yield voice.pick("last training loss", "最终训练损失"), f"{losses[-1]:.4f}", small


def _measured(record: Record, voice: Voice) -> Iterator[Tile]:
    """The measures that matter most, each where it counts: on the test part, if there is one."""
    rows = [row for row in measured_rows(record) if row["name"] in MEASURES and MEASURES[row["name"]].dear]
    parts = [str(row.get("data", "")) for row in rows]
    wanted = "test" if "test" in parts else parts[0] if parts else ""
    for row in [row for row in rows if str(row.get("data", "")) == wanted][:TILES_MEASURED]:
        small = " · ".join(each for each in (interval_text(row), data_name(wanted, voice)) if each)
        yield measure_name(row["name"], voice), value_text(row), small


def _steps(record: Record, voice: Voice) -> Iterator[Tile]:
    if record.metrics.steps:
        total = record.section("train").get("steps")
        small = voice.pick(f"of {total:,} planned", f"计划 {total:,}") if is_number(total) else None
        yield voice.pick("steps", "步数"), f"{record.metrics.steps[-1]['step']:,}", small


def _tokens(record: Record, voice: Voice) -> Iterator[Tile]:
    """Whether a line counts the tokens of its own step or all so far."""
    counts = record.metrics.curve("tokens")[1]
    if counts:
        so_far = len(counts) > 1 and all(after > before for before, after in pairwise(counts))
        yield voice.pick("tokens seen", "已训练词元"), short(counts[-1] if so_far else sum(counts)), None


def _time(record: Record, voice: Voice) -> Iterator[Tile]:
    seconds, speeds = record.metrics.curve("seconds")[1], record.metrics.curve("tokens_per_second")[1]
    if seconds:
        speed = f"{median(speeds):,.0f}" if speeds else ""
        small = voice.pick(f"{speed} tokens a second", f"每秒 {speed} 词元") if speeds else None
        yield voice.pick("training time", "训练用时"), clock(seconds[-1]), small


def _trained(record: Record, voice: Voice) -> Iterator[Tile]:
    """Where only a part of the model trained: how much, and what its folder takes on disk."""
    part = record.danlu.get("trained")
    if isinstance(part, dict) and is_number(share := part.get("share")) and share < 1:
        size = sum(path.stat().st_size for path in (record.folder / "model").glob("*.safetensors"))
        small = f"{short(part['trains'])} · {size / 1e6:,.1f} MB" if is_number(part.get("trains")) else None
        yield voice.pick("of them trained", "其中训练"), f"{share:.2%}", small


def _size(record: Record, voice: Voice) -> Iterator[Tile]:
    count = record.danlu.get("parameters")
    if is_number(count):
        yield voice.pick("parameters", "参数量"), short(count), record.danlu.get("family")


TILES: Sequence[Callable[[Record, Voice], Iterator[Tile]]] = (
    _validation, _training, _measured, _steps, _tokens, _time, _size, _trained,
)  # fmt: skip
