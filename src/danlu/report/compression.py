"""What compressing came to: before and after each step, where it hurts, how fast it is here, what a budget's search
tried."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from danlu.report.html import Html, Section, element, fold, panel, table, tiles
from danlu.report.plots import Bar, Line, bars, lines
from danlu.report.quality import interval_text, measure_name, write
from danlu.report.record import Record, Row
from danlu.voice import Voice

Table = tuple[str, list[str], list[list[str]]]  # title, head, rows
WORDS = (
    ("step", "步骤"), ("parameters", "参数"), ("not zero", "非零"), ("bits a weight", "每权重比特"), ("file", "文件"),
    ("quality", "质量"), ("interval", "区间"), ("lost", "损失"), ("same answers", "答案一致"), ("divergence", "散度"),
    ("seconds", "秒"),
)  # fmt: skip
TIMES = (("threads", "线程"), ("rows × tokens", "行×词元"), ("before", "之前"), ("after", "之后"), ("faster", "加速"))
WORST = 12  # layers in sight


def compression_section(record: Record, voice: Voice) -> Section | None:
    """Everything that `compression.json` holds."""
    found = record.compression
    if not found.get("steps"):
        return None
    title, head, rows = _steps(found, voice)
    parts: list[Html] = [
        tiles(_tiles(found, voice)),
        panel(element("h3", title), table(head, rows, range(1, len(head)))),
    ]
    parts += [panel(element("h3", name), table(names, cells, range(len(names)))) for name, names, cells in [
        _times(found, voice), _memory(found, voice)] if cells]  # fmt: skip
    parts += list(_errors(found, voice))
    parts += list(_frontier(found, voice))
    if kernels := found.get("kernels"):
        layers: Mapping[str, str] = kernels.get("layers") or {}
        told = element("p", f"{kernels.get('here', '')} {kernels.get('why', '')}".strip())
        each = table([voice.pick("layer", "层"), voice.pick("kernel", "内核")], [list(pair) for pair in layers.items()])
        parts.append(
            fold(
                voice.pick(f"kernels of {len(layers)} layers", f"{len(layers)} 层所用内核"), element("div", told, each)
            )
        )
    note = voice.pick(
        "After each step, quality is that on rows to choose by; the last row is the test, by which none was.",
        "每步之后的质量在验证集上测得；最后一行为测试集，任何选择都未用到它。",
    )
    return Section("compression", voice.pick("Compression", "压缩"), element("div", *parts), note)


def compression_tables(record: Record, voice: Voice) -> list[Table]:
    """The same for the card: steps, times, memory."""
    found = record.compression
    return [each for each in (_steps(found, voice), _times(found, voice), _memory(found, voice)) if each[2]]


def _tiles(found: Row, voice: Voice) -> Iterator[tuple[str, str, str]]:
    before, after = found["original"]["size"], found["steps"][-1]["measured"]["size"]
    old, new = _bytes(before), _bytes(after)
    yield voice.pick("file", "文件"), f"{new / 1e6:.1f} MB", f"{old / 1e6:.1f} MB → {new / max(1, old):.1%}"
    test = found["test"]
    name = str(test["quality"]["name"])
    yield (
        measure_name(name, voice),
        write(name, test["quality"]["value"]),
        voice.pick(
            f"before: {write(name, test['original']['value'])}", f"之前：{write(name, test['original']['value'])}"
        ),
    )
    for _, own, other in _pairs(found):
        ratio = own["low"] / max(other["low"], 1e-12)
        threads = voice.pick(f"{own['threads']} thread(s)", f"{own['threads']} 线程")
        yield threads, f"{ratio:.2f}×", f"{1e3 * own['low']:.2f} → {1e3 * other['low']:.2f} ms"


def _steps(found: Row, voice: Voice) -> Table:
    rows = []
    if found.get("steps"):
        rows = [_line(voice.pick("as it was", "原模型"), found["original"], None, voice)]
        rows += [_line(told(each["step"]), each["measured"], each.get("seconds"), voice) for each in found["steps"]]
        test = found["test"]
        name = str(test["quality"]["name"])
        rows.append([
            voice.pick("test", "测试"), "", "", "", "", write(name, test["quality"]["value"]),
            interval_text(test["quality"]), f"{test['drop']:+.2%}", "", "", "",
        ])  # fmt: skip
    return voice.pick("Steps", "步骤"), [voice.pick(*pair) for pair in WORDS], rows


def _line(name: str, measured: Row, seconds: float | None, voice: Voice) -> list[str]:
    size, quality, agreement = measured["size"], measured["quality"], measured.get("agreement")
    same = f"{agreement['same']['value']:.2%}" if agreement else ""
    return [
        name, f"{size['weights']:,}", f"{size['nonzero'] / max(1, size['weights']):.1%}", f"{size['bits']:.2f}",
        f"{_bytes(size) / 1e6:.2f} MB", write(str(quality["name"]), quality["value"]), interval_text(quality),
        f"{measured['drop']:+.2%}", same, f"{agreement['divergence']:.4f}" if agreement else "",
        "" if seconds is None else f"{seconds:.1f}",
    ]  # fmt: skip


def told(step: Row) -> str:
    """A step in a few words."""
    kind = str(step.get("kind"))
    parts = {"prune": ("part", "method", "share", "keep"), "factorize": ("method", "keep"),
             "quantize": ("coding", "method", "group"), "distil": ("logits", "hidden", "attention")}  # fmt: skip
    values = (step.get(name) for name in parts.get(kind, ()))
    shown = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in values if value not in (None, 0.0))
    return " ".join([kind, *shown])


def _pairs(found: Row) -> Iterator[tuple[int, Row, Row]]:
    times = found.get("latency") or {}
    for own, other in zip(times.get("original") or [], times.get("compressed") or [], strict=False):
        yield own["threads"], own, other


def _times(found: Row, voice: Voice) -> Table:
    rows = [
        [str(threads), f"{own['rows']} × {own['length']}", f"{1e3 * own['low']:.2f} ms", f"{1e3 * other['low']:.2f} ms",
         f"{own['low'] / max(other['low'], 1e-12):.2f}×"]
        for threads, own, other in _pairs(found)
    ]  # fmt: skip
    return voice.pick("Time of a batch here", "本机每批耗时"), [voice.pick(*pair) for pair in TIMES], rows


def _memory(found: Row, voice: Voice) -> Table:
    rows = []
    for name, words in (("original", ("as it was", "原模型")), ("compressed", ("compressed", "压缩后"))):
        if own := (found.get("memory") or {}).get(name):
            rows.append([voice.pick(*words), f"{own['peak'] / 1e6:.0f} MB", f"{own['model'] / 1e6:.0f} MB"])
    head = [("model", "模型"), ("peak of a process", "进程峰值"), ("of that, the model", "其中模型部分")]
    return voice.pick("Memory", "内存"), [voice.pick(*pair) for pair in head], rows


def _errors(found: Row, voice: Voice) -> Iterator[Html]:
    """Where the last model is furthest from the original."""
    errors: Mapping[str, float] = found["steps"][-1]["measured"].get("errors") or {}
    if not errors:
        return
    worst = sorted(errors.items(), key=lambda each: -each[1])[:WORST]
    title = voice.pick("Layers furthest from the original, by the error of their outputs", "输出偏离原模型最多的层")
    every = table([voice.pick("layer", "层"), voice.pick("error", "误差")],
                  [[path, f"{value:.4f}"] for path, value in errors.items()], (1,))  # fmt: skip
    yield panel(
        element("h3", title), bars([Bar(path, value) for path, value in worst], form="{:.3f}"),
        fold(voice.pick(f"all {len(errors)} layers", f"全部 {len(errors)} 层"), every),
    )  # fmt: skip


def _frontier(found: Row, voice: Voice) -> Iterator[Html]:
    """What was tried for a budget: size against loss, and those than which none is both smaller and better."""
    trials: Sequence[Any] = (found.get("budget") or {}).get("trials") or []
    if not trials:
        return
    ordered = sorted(trials, key=lambda each: (each["size"], each["drop"]))
    front: list[Any] = []
    for each in ordered:
        if not front or each["drop"] < front[-1]["drop"]:
            front.append(each)
    curves = [
        Line(
            voice.pick("tried", "已尝试"),
            [t["size"] / 1e6 for t in ordered],
            [100 * t["drop"] for t in ordered],
            "dots",
        ),
        Line(voice.pick("frontier", "前沿"), [t["size"] / 1e6 for t in front], [100 * t["drop"] for t in front]),
    ]
    kept = [t for t in trials if t["meets"]]
    title = voice.pick(
        f"{len(trials)} chains tried, {len(kept)} keep the budget", f"尝试 {len(trials)} 条流程，{len(kept)} 条满足预算"
    )
    head = [
        voice.pick(*pair)
        for pair in (("chain", "流程"), ("MB", "MB"), ("lost", "损失"), ("ms", "毫秒"), ("keeps", "满足"))
    ]
    rows = [
        [" → ".join(told(step) for step in t["steps"]) or "—", f"{t['size'] / 1e6:.2f}", f"{t['drop']:+.2%}",
         "" if t["latency"] is None else f"{1e3 * t['latency']:.2f}", "✓" if t["meets"] else ""]
        for t in sorted(trials, key=lambda each: (not each["meets"], each["drop"]))
    ]  # fmt: skip
    yield panel(
        element("h3", title), lines(curves, x_name=voice.pick("MB; lost in percent", "MB；损失（%）")),
        fold(voice.pick("every chain", "全部流程"), table(head, rows, (1, 2, 3))),
    )  # fmt: skip


def _bytes(size: Row) -> int:
    return int(size["file"] or size["bytes"])
