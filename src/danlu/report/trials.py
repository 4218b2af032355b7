"""Several runs in one: what a search tried and how lucky its choice was, and what seeds differ by."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from danlu.report.html import Html, Section, element, fold, panel, table
from danlu.report.plots import Bar, Line, bars, lines
from danlu.report.quality import data_name, interval_text, measure_name, write
from danlu.report.record import Record, Row, is_number
from danlu.tasks.metrics import MEASURES
from danlu.voice import Voice

STATES = {"done": ("", ""), "pruned": ("given up", "提前放弃"), "failed": ("failed", "失败")}
SHOWN = 8  # trials in sight


def search_section(record: Record, voice: Voice) -> Section | None:
    """The trials, the best so far, each setting against the result, and what the best one is worth on other rows."""
    metric, trials = str(record.search.get("metric")), record.search.get("trials") or []
    done = [row for row in trials if is_number(row.get("value"))]
    if not done:
        return None
    larger = MEASURES[metric].larger_is_better if metric in MEASURES else True
    order = sorted(trials, key=lambda row: _rank(row, larger))
    space = record.search.get("space") or {}
    charts = [
        _course(done, metric, larger, voice),
        *(_against(name, side, done, voice) for name, side in space.items()),
    ]
    title = element("h3", voice.pick("trials, the best first", "各次尝试，由好到差"))
    parts = [
        *_expected(record.search, done, metric, voice),
        element("div", *charts, class_="grid"),
        panel(title, *_trials(order, list(space), metric, voice)),
    ]
    note = voice.pick(
        f"{len(trials)} trials, judged by {measure_name(metric, voice)} on the validation part. The test part was not "
        "looked at before the choice was made.",
        f"共 {len(trials)} 次尝试，以验证集上的{measure_name(metric, voice)}评判。选定之前从未查看测试集。",
    )
    return Section("search", voice.pick("The search", "超参数搜索"), element("div", *parts), note)


def seeds_section(record: Record, voice: Voice) -> Section | None:
    """Mean, spread, worst and best over seeds."""
    rows: Sequence[Row] = [row for row in record.seeds.get("rows") or [] if is_number(row.get("value"))]
    if not rows:
        return None
    words = (
        ("data", "数据"), ("measure", "指标"), ("mean", "平均"), ("standard deviation", "标准差"),
        ("worst", "最差"), ("best", "最好"), ("interval", "区间"), ("each seed", "各种子"),
    )  # fmt: skip
    cells = [
        [
            data_name(str(row.get("data", "")), voice), measure_name(str(row["name"]), voice),
            *(write(str(row["name"]), row[part]) for part in ("value", "std", "worst", "best")), interval_text(row),
            "  ".join(write(str(row["name"]), value) for value in row.get("values", [])),
        ]
        for row in rows
    ]  # fmt: skip
    runs = record.seeds.get("runs") or []
    note = voice.pick(
        f"{len(runs)} runs that differ in nothing but the seed: {', '.join(runs)}. Intervals: 95 %, both runs and rows "
        "drawn. The model kept is the one that was best on the validation part.",
        f"{len(runs)} 次运行，除种子外完全相同：{'、'.join(runs)}。区间：95%，同时对运行与行抽样。"
        "保留的是验证集上最好的模型。",
    )
    head = [voice.pick(*pair) for pair in words]
    return Section(
        "seeds", voice.pick("Several seeds", "多个种子"), panel(table(head, cells, numeric=(2, 3, 4, 5, 6))), note
    )


def _expected(search: Mapping[str, Any], done: Sequence[Row], metric: str, voice: Voice) -> list[Html]:
    """The best trial's own score beside what it is expected to be worth on other rows."""
    expected, best = search.get("expected"), next((row for row in done if row["number"] == search.get("best")), None)
    if not isinstance(expected, dict) or best is None:
        return []
    first = next((row for row in done if row["number"] == 0), None)
    shown = [(voice.pick("as it was chosen, on the validation part", "选定时在验证集上"), best),
             (voice.pick("expected on other rows", "在其他数据上的预期"), expected)]  # fmt: skip
    if first is not None:
        shown.insert(0, (voice.pick("nothing changed (trial 0)", "不作改动（第 0 次）"), first))
    form = MEASURES[metric].form if metric in MEASURES else "{:.4g}"
    made = [Bar(name, row["value"], row.get("low"), row.get("high")) for name, row in shown]
    words = voice.pick(
        "The one who is chosen for his score is overrated by it. Expected: chosen on rows that were drawn, measured on "
        "those that were not.",
        "凭分数选出的结果会被高估。预期值：在抽中的行上选择，在未抽中的行上评测。",
    )
    title = element("h3", voice.pick("what the choice is worth", "这一选择值多少"))
    return [
        panel(
            title, bars(made, high=1.0 if form.endswith("%}") else None, form=form), element("p", words, class_="under")
        )
    ]


def _course(done: Sequence[Row], metric: str, larger: bool, voice: Voice) -> Html:
    best: list[float] = []
    for row in done:
        best.append((max if larger else min)([*best[-1:], row["value"]]))
    numbers = [row["number"] for row in done]
    curves = [Line(voice.pick("trial", "尝试"), numbers, [row["value"] for row in done], style="dots"),
              Line(voice.pick("best so far", "目前最好"), numbers, best)]  # fmt: skip
    title = element("h3", measure_name(metric, voice))
    return panel(title, lines(curves, voice.pick("number of the trial", "尝试序号")))


def _against(name: str, side: Any, done: Sequence[Row], voice: Voice) -> Html | None:
    pairs = [(row["params"].get(name), row["value"]) for row in done]
    known = [(float(x), y) for x, y in pairs if is_number(x)]
    if len({x for x, _ in known}) < 2:
        return None
    log = isinstance(side, dict) and bool(side.get("log"))
    places = [math.log10(x) if log else x for x, _ in known]
    line = Line(name, places, [y for _, y in known], style="dots")
    return panel(
        element("h3", name), lines([line], voice.pick("log₁₀", "log₁₀") if log else name.rpartition(".")[2], height=150)
    )


def _trials(order: Sequence[Row], names: Sequence[str], metric: str, voice: Voice) -> list[Html]:
    head = [voice.pick("trial", "尝试"), measure_name(metric, voice), *names, voice.pick("seconds", "秒"), ""]
    rows = [
        [
            f"{row['number']}", write(metric, row["value"]) if is_number(row.get("value")) else "—",
            *(f"{row['params'].get(name)}" for name in names), f"{row.get('seconds', 0):,.0f}",
            voice.pick(*STATES.get(str(row.get("state")), ("", ""))),
        ]
        for row in order
    ]  # fmt: skip
    numeric = tuple(range(len(names) + 3))
    rest = rows[SHOWN:]
    more = (
        [fold(voice.pick(f"{len(rest)} more", f"另外 {len(rest)} 次"), table(head, rest, numeric=numeric))]
        if rest
        else []
    )
    return [table(head, rows[:SHOWN], numeric=numeric), *more]


def _rank(row: Row, larger: bool) -> tuple[bool, float]:
    value = row.get("value")
    return (not is_number(value), (-value if larger else value) if is_number(value) else 0.0)
