"""What the model will see: every token, what was done to it, and what should be answered there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.text import Text

from danlu.data.batch import IGNORED, Batch
from danlu.data.loader import Loader
from danlu.data.packing import PADDING
from danlu.voice import Voice

# mark -> (style in the terminal, the words for it)
MARKS: Mapping[str, tuple[str, str, str]] = {
    "masked": ("bold white on dark_red", "hidden", "被掩码"),
    "replaced": ("bold black on orange1", "replaced by another", "被替换"),
    "kept": ("bold black on green3", "kept, but asked for", "保持原样但需预测"),
    "special": ("dim cyan", "special", "特殊词元"),
    "pad": ("dim", "padding", "填充"),
}
TARGET = "italic green"
BORDER = "bold red"


class Reader(Protocol):
    """What is asked of a tokenizer."""

    @property
    def special(self) -> Mapping[str, int]: ...

    def pieces(self, ids: Sequence[int]) -> list[str]: ...


@dataclass(frozen=True)
class Cell:
    """One place of a row. `mark` is a key of `MARKS`, or empty; `target` is None where nothing is asked."""

    text: str
    mark: str
    target: str | None
    document: int


@dataclass(frozen=True)
class Inspection:
    """Rows as they enter the model. `objective` is "masked" or "causal"; `counts` are over these rows."""

    objective: str
    rows: list[list[Cell]]
    counts: dict[str, int]


def inspect(loader: Loader, tokenizer: Reader, count: int) -> Inspection:
    """The first `count` rows that the first epoch will train on."""
    batches: list[Batch] = []
    while sum(batch.rows for batch in batches) < count and len(batches) < loader.steps_per_epoch:
        batches.append(loader.batch(len(batches)))
    hidden = tokenizer.special.get("mask", -1)
    masked = any((batch.inputs["tokens"] == hidden).any() for batch in batches)
    rows = [row for batch in batches for row in _rows(batch, tokenizer, masked)][:count]
    cells = [cell for row in rows for cell in row]
    marks = Counter(cell.mark for cell in cells if cell.mark)
    counts = {
        "rows": len(rows),
        "tokens": sum(cell.mark != "pad" for cell in cells),
        "documents": sum(len({cell.document for cell in row} - {PADDING}) for row in rows),
        "targets": sum(cell.target is not None for cell in cells),
        **{mark: marks[mark] for mark in MARKS if marks[mark]},
    }
    return Inspection("masked" if masked else "causal", rows, counts)


def _rows(batch: Batch, tokenizer: Reader, masked: bool) -> list[list[Cell]]:
    tokens = batch.inputs["tokens"].tolist()
    documents = (
        batch.inputs["documents"].tolist() if "documents" in batch.inputs else [[0] * len(row) for row in tokens]
    )
    targets = batch.targets["tokens"].tolist()
    special = set(tokenizer.special.values())

    def mark(token: int, target: int, document: int) -> str:
        if document == PADDING:
            return "pad"
        if masked and target != IGNORED:
            return "masked" if token == tokenizer.special["mask"] else "kept" if token == target else "replaced"
        return "special" if token in special else ""

    found = []
    for row in zip(tokens, targets, documents, strict=True):
        texts = tokenizer.pieces(row[0])
        asked = tokenizer.pieces([max(target, 0) for target in row[1]])
        found.append(
            [
                Cell(text, mark(token, target, document), None if target == IGNORED else answer, document)
                for text, answer, token, target, document in zip(texts, asked, *row, strict=True)
            ]
        )
    return found


def drawn(inspection: Inspection, voice: Voice, width: int = 100) -> Group:
    """For a terminal: pairs of lines, the tokens above and what should be answered below; ‖ between documents."""
    legend = Text("  ").join(
        [Text(f" {voice.pick(en, zh)} ", style) for mark, (style, en, zh) in MARKS.items() if mark in inspection.counts]
        + [Text(voice.pick("target", "应答"), TARGET), Text(voice.pick("‖ new document", "‖ 新文档"), BORDER)]
    )
    names = {"rows": "行", "tokens": "词元", "documents": "文档", "targets": "应答"}
    counts = "  ".join(
        f"{voice.pick(name, names[name])} {inspection.counts[name]:,}" for name in names
    )  # fmt: skip
    lines: list[Text] = [legend, Text(counts, "bold")]
    for number, row in enumerate(inspection.rows):
        lines += [Text(""), Text(voice.pick(f"row {number}", f"第 {number} 行"), "bold underline"), *_pairs(row, width)]
    return Group(*lines)


def show(inspection: Inspection, voice: Voice, console: Console | None = None) -> None:
    """Print it; on stdout where no console is given."""
    console = console or Console()
    console.print(drawn(inspection, voice, console.width))


def _pairs(row: Sequence[Cell], width: int) -> list[Text]:
    """A row of cells as lines of tokens with their targets below, aligned."""
    lines: list[Text] = []
    above, below = Text(), Text()
    document = row[0].document if row else 0
    for cell in row:
        top = Text(_visible(cell.text), MARKS[cell.mark][0] if cell.mark else "")
        bottom = Text(_visible(cell.target) if cell.target is not None else "", TARGET)
        if cell.document != document:
            top, bottom = Text.assemble(("‖ ", BORDER), top), Text.assemble(("‖ ", BORDER), bottom)
            document = cell.document
        size = max(top.cell_len, bottom.cell_len) + 1
        if above.cell_len + size > width and above.cell_len:
            lines += [above, below]
            above, below = Text(), Text()
        above += top + Text(" " * (size - top.cell_len))
        below += bottom + Text(" " * (size - bottom.cell_len))
    return [*lines, above, below]


def _visible(text: str) -> str:
    return text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·") or "∅"
