"""What the model will see, as a page: tokens with their marks, targets below them, borders between documents."""

from collections.abc import Sequence

from danlu.data.inspect import MARKS, Cell, Inspection
from danlu.report.html import Html, Section, element, join, page, panel, tiles
from danlu.report.plots import colour
from danlu.voice import Voice

COLOURS = {"masked": 0, "replaced": 4, "kept": 2, "sentinel": 1, "second": 3, "prefix": 2, "special": 5, "pad": 5}
COUNTS = {"rows": "行", "tokens": "词元", "documents": "文档", "targets": "应答"}
EXPLAINED = (
    "Above: what enters the model. In small print: what it should answer there. A red line: a new document.",
    "上方为输入模型的词元，下方小字为该处应给出的答案；红线表示新文档开始。",
)


def inspection_page(seen: Sequence[Inspection], voice: Voice) -> str:
    """A whole page for `danlu data inspect`: of each turn, the counts, then each row as it enters the model."""
    sections = [section for number, each in enumerate(seen) for section in _sections(each, number, len(seen), voice)]
    title = voice.pick("What the model will see", "模型将看到的内容")
    kind = voice.pick("inspection of data", "数据检视")
    return page(title, sections, voice, lead="; ".join(each.objective for each in seen), kind=kind)


def _sections(inspection: Inspection, number: int, of: int, voice: Voice) -> list[Section]:
    marks = [mark for mark in MARKS if inspection.counts.get(mark)]
    names = [element("span", _words(mark, voice), class_="dots", style=colour(COLOURS[mark])) for mark in marks]
    facts = [(_words(name, voice), f"{count:,}", _share(inspection, name)) for name, count in inspection.counts.items()]
    rows = [panel(element("h3", inspection.title(at, voice)), _row(row)) for at, row in enumerate(inspection.rows)]
    mark, turn = (f"-{number}", f" · {inspection.objective.partition(':')[0]}") if of > 1 else ("", "")
    return [
        Section(f"counts{mark}", voice.pick("Counts", "统计") + turn, tiles(facts)),
        Section(
            f"rows{mark}",
            voice.pick("Rows", "样本行") + turn,
            join([element("div", *names, class_="legend"), *rows]),
            voice.pick(*EXPLAINED),
        ),
    ]


def _row(cells: Sequence[Cell]) -> Html:
    parts: list[Html] = []
    document = cells[0].document if cells else 0
    for cell in cells:
        if cell.document != document and cell.mark != "pad":
            parts.append(element("span", class_="border"))
            document = cell.document
        parts.append(_token(cell))
    return element("div", *parts, class_="tokens")


def _token(cell: Cell) -> Html:
    kind = "token pad" if cell.mark == "pad" else "token"
    parts = (_visible(cell.text), element("small", _visible(cell.target) if cell.target is not None else ""))
    if not cell.mark:
        return element("span", *parts, class_=kind)
    return element("span", *parts, class_=kind, data_k=cell.mark, style=colour(COLOURS[cell.mark]))


def _visible(text: str) -> str:
    """Spaces at the ends and line ends can be seen."""
    shown = text.replace("\n", "⏎").replace("\t", "⇥")
    inner = shown.strip(" ")
    return shown.replace(inner, "\0", 1).replace(" ", "·").replace("\0", inner) if inner else "·" * len(shown) or "∅"


def _words(name: str, voice: Voice) -> str:
    return voice.pick(*MARKS[name][1:]) if name in MARKS else voice.pick(name, COUNTS.get(name, name))


def _share(inspection: Inspection, name: str) -> str:
    """Of all targets, or of all tokens."""
    whole = inspection.counts.get("targets" if name in ("masked", "replaced", "kept") else "tokens")
    part = name in MARKS or name == "targets"
    return f"{inspection.counts[name] / whole:.1%}" if part and whole else ""
