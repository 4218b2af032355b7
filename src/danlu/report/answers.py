"""Where a classifier goes wrong: against other runs, by label, by length and column, calibration, the worst rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.report.html import Html, Section, element, fold, join, panel, table
from danlu.report.plots import Bar, Line, bars, lines
from danlu.report.quality import count_text, data_name, interval_text, measure_name, write
from danlu.report.record import Record, Row, is_number
from danlu.tasks.metrics import MEASURES
from danlu.voice import Voice

VERDICTS = {
    "better": ("better", "更好", "good"), "worse": ("worse", "更差", "bad"),
    "no difference shown": ("no difference shown", "未见差异", "dim"),
}  # fmt: skip
FEW_LABELS = 6  # that leave room for another panel beside their table
IN_SIGHT, WORST = 12, 8  # labels and rows of a table; the others are folded away


def comparisons_section(record: Record, voice: Voice) -> Section | None:
    """This run against others, on the same rows."""
    rows = [row for row in record.evaluation.get("comparisons") or [] if is_number(row.get("value"))]
    if not rows:
        return None
    head = _words(voice, ("against", "对比"), ("data", "数据"), ("measure", "指标"), ("difference", "差值"),
                  ("interval", "区间"), ("by chance", "偶然概率"), ("verdict", "结论"))  # fmt: skip
    cells = [_compared(row, voice) for row in rows]
    note = voice.pick(
        "This run less the other one, on the same rows. A difference is shown where its whole interval lies on one "
        "side of nothing and equally good runs would seldom differ as much.",
        "本次运行减去另一次运行，在相同的行上比较。只有当整个区间位于零的一侧，"
        "且同样好的两次运行很少相差这么多时，才认定有差异。",
    )
    return Section(
        "against",
        voice.pick("Against other runs", "与其他运行对比"),
        panel(table(head, cells, numeric=(3, 4, 5))),
        note,
    )


def _compared(row: Row, voice: Voice) -> list[Any]:
    name, gap = str(row["name"]), row["value"]
    chance = ("< 0.001" if row["chance"] < 0.001 else f"{row['chance']:.3f}") if is_number(row.get("chance")) else ""
    return [
        str(row.get("against", "")), data_name(str(row.get("data", "")), voice), measure_name(name, voice),
        ("+" if gap > 0 else "") + write(name, gap), interval_text(row), chance, _verdict(row, voice),
    ]  # fmt: skip


def answers_section(record: Record, voice: Voice) -> Section | None:
    """Tables and charts of the answers to each file that was evaluated; the one that counts most lies open."""
    found = answered(record)
    if not found:
        return None
    (data, details), *others = found
    title = element("h3", data_name(data, voice), class_="part") if others else None
    folded = [fold(data_name(data, voice), join(_details(details, voice))) for data, details in others]
    body = join([title, *_details(details, voice), *folded])
    return Section("answers", voice.pick("Where it goes wrong", "错在哪里"), body)


def answered(record: Record) -> list[tuple[str, Mapping[str, Any]]]:
    """The files that were evaluated, and what is known of the answers: the test part first, validation last."""
    found = record.evaluation.get("answers")
    parts = [(str(data), each) for data, each in (found or {}).items() if isinstance(each, dict)]
    order = {"test": 0, "validation": 2}
    return sorted(parts, key=lambda part: order.get(part[0], 1))


def _details(details: Mapping[str, Any], voice: Voice) -> list[Html]:
    small = [_confusion(details, voice), _labels(details, voice)]
    if len((details.get("confusion") or {}).get("labels") or []) <= FEW_LABELS:
        small = [_grid(small)]
    charts = _grid([*_slices(details, voice), *_calibration(details, voice)])
    made = [_unseen(details, voice), *small, charts, _worst(details, voice)]
    return [each for each in made if each is not None]


def _grid(panels: Sequence[Html | None]) -> Html | None:
    there = [each for each in panels if each is not None]
    return element("div", *there, class_="grid") if there else None


def _unseen(details: Mapping[str, Any], voice: Voice) -> Html | None:
    strange = details.get("unseen")
    if not isinstance(strange, dict) or not strange:
        return None
    listed = ", ".join(f"{name} ({count})" for name, count in strange.items())
    words = voice.pick("Labels that training never saw, counted as wrong: ", "训练中未见过的标签，按答错计算：")
    return panel(element("p", words + listed, class_="bad"))


def _confusion(details: Mapping[str, Any], voice: Voice) -> Html | None:
    """Rows are right answers, columns what was said; a cell is as dark as its share of the row."""
    found = details.get("confusion") or {}
    labels, counts = found.get("labels") or [], found.get("counts") or []
    if len(labels) < 2:
        return None
    corner = element("th", voice.pick("right ↓  said →", "标准 ↓  预测 →"))
    head = element("tr", corner, *(element("th", name, class_="n") for name in labels))
    each = enumerate(zip(labels, counts, strict=True))
    rows = [element("tr", element("th", name), *_cells(row, at)) for at, (name, row) in each]
    grid = element("table", element("thead", head), element("tbody", *rows), class_="confusion")
    return panel(element("h3", voice.pick("confusions", "混淆矩阵")), element("div", grid, class_="scroll"))


def _cells(row: Sequence[int], right: int) -> list[Html]:
    shares = [count / (sum(row) or 1) for count in row]
    return [
        element(
            "td", f"{count:,}" if count else "·", class_="n right" if at == right else "n", title=f"{share:.1%}",
            style=f"--p:{share:.3f}",
        )
        for at, (count, share) in enumerate(zip(row, shares, strict=True))
    ]  # fmt: skip


def _labels(details: Mapping[str, Any], voice: Voice) -> Html | None:
    found: Sequence[Row] = details.get("labels") or []
    if not found:
        return None
    head = _words(
        voice, ("label", "标签"), ("count", "数量"), ("precision", "精确率"), ("recall", "召回率"), ("F1", "F1")
    )
    parts = ("precision", "recall", "f1")
    rows = [[row["label"], f"{row['count']:,}", *(_share(row.get(part)) for part in parts)] for row in found]
    return panel(element("h3", voice.pick("each label", "各标签")), *_folded(head, rows, IN_SIGHT, (1, 2, 3, 4), voice))


def _slices(details: Mapping[str, Any], voice: Voice) -> list[Html]:
    measure = str(details.get("metric", "accuracy"))
    form = MEASURES[measure].form if measure in MEASURES else "{:.3f}"
    high = 1.0 if form.endswith("%}") and (measure not in MEASURES or MEASURES[measure].larger_is_better) else None
    panels = []
    for name, rows in (details.get("slices") or {}).items():
        of = voice.pick("length in tokens", "长度（词元）") if name == "length" else name
        each = [
            Bar(f"{row['group'] or '—'}  ({count_text(row, voice)})", row["value"], row.get("low"), row.get("high"))
            for row in rows
            if is_number(row.get("value"))
        ]
        title = voice.pick(f"{measure_name(measure, voice)} by {of}", f"按{of}划分的{measure_name(measure, voice)}")
        if each:
            panels.append(panel(element("h3", title), bars(each, high=high, form=form)))
    return panels


def _calibration(details: Mapping[str, Any], voice: Voice) -> list[Html]:
    found: Sequence[Row] = details.get("calibration") or []
    if not found:
        return []
    curves = [
        Line(voice.pick("as it should be", "理想情况"), [0.0, 1.0], [0.0, 1.0]),
        Line(voice.pick("share of right answers", "答对的比例"), [row["chance"] for row in found],
             [row["right"] for row in found], style="dots"),
    ]  # fmt: skip
    title = voice.pick("can its probabilities be trusted?", "概率是否可信？")
    return [panel(element("h3", title), lines(curves, voice.pick("probability it gave", "模型给出的概率"), zero=True))]


def _worst(details: Mapping[str, Any], voice: Voice) -> Html | None:
    found: Sequence[Row] = details.get("worst") or []
    if not found:
        return None
    measure = str(details.get("metric", ""))
    scored = "score" in found[0]
    last = (measure_name(measure, Voice("en")), measure_name(measure, Voice("zh"))) if scored else ("loss", "损失")
    head = _words(voice, ("where", "位置"), ("text", "文本"), ("right", "标准答案"), ("said", "预测"), last)
    rows = [
        [
            f"{Path(str(row.get('file', ''))).name}:{row.get('line', '')}", str(row.get("text", "")),
            _answer(row.get("reference")), _said(row), _cost(row, measure),
        ]
        for row in found
    ]  # fmt: skip
    title = voice.pick("rows whose right answer cost most", "损失最大的行")
    if scored:
        title = voice.pick("rows with the worst answers", "回答最差的行")
    return panel(element("h3", title), *_folded(head, rows, WORST, (4,), voice))


def _folded(
    head: Sequence[str], rows: Sequence[Sequence[Any]], shown: int, numeric: tuple[int, ...], voice: Voice
) -> list[Html]:
    """A table of the first rows, and the others to be opened."""
    rest = rows[shown:]
    parts = [table(head, rows[:shown], numeric=numeric)]
    if rest:
        parts.append(fold(voice.pick(f"{len(rest)} more", f"另外 {len(rest)} 行"), table(head, rest, numeric=numeric)))
    return parts


def _cost(row: Row, measure: str) -> str:
    if is_number(row.get("score")):
        return write(measure, row["score"])
    return f"{row['loss']:.2f}" if is_number(row.get("loss")) else ""


def _said(row: Row) -> str:
    chance = row.get("chance")
    return _answer(row.get("prediction")) + (f"\u00a0({chance:.0%})" if is_number(chance) else "")


def _answer(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _share(value: Any) -> str:
    return f"{value:.1%}" if is_number(value) else "—"


def _verdict(row: Row, voice: Voice) -> Html:
    en, zh, kind = VERDICTS.get(str(row.get("verdict")), (str(row.get("verdict")), str(row.get("verdict")), "dim"))
    return element("span", voice.pick(en, zh), class_=kind)


def _words(voice: Voice, *pairs: tuple[str, str]) -> list[str]:
    return [voice.pick(*pair) for pair in pairs]
