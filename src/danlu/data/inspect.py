"""What the model will see: every token, what was done to it, and what should be answered there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from rich.console import Console, Group
from rich.text import Text
from torch import Tensor

from danlu.data.batch import IGNORED, Batch
from danlu.data.corruption.words import Vocabulary, Words
from danlu.data.packing import PADDING
from danlu.voice import Voice

# mark -> (style in the terminal, the words for it)
MARKS: Mapping[str, tuple[str, str, str]] = {
    "masked": ("bold white on dark_red", "hidden", "被掩码"),
    "replaced": ("bold black on orange1", "replaced by another", "被替换"),
    "kept": ("bold black on green3", "kept, but asked for", "保持原样但需预测"),
    "sentinel": ("bold white on blue", "a sentinel for a span", "代表片段的哨兵"),
    "second": ("magenta", "second text", "第二段文本"),
    "prefix": ("underline", "seen whole, not asked for", "整段可见，无需预测"),
    "special": ("dim cyan", "special", "特殊词元"),
    "pad": ("dim", "padding", "填充"),
}
TARGET = "italic green"
BORDER = "bold red"
SIDES = ("", "second", "prefix")
PAIRS = {0: "✓", 1: "✗"}  # the second text is the right one, or not
PARTS: Mapping[str, tuple[str, str]] = {
    "tokens": ("", ""),
    "source": ("  what is read", "  读入"),
    "target": ("  what is written", "  写出"),
    "judged": ("  what the detector reads", "  判别器读入"),
}
SEVERAL = (("source", "target"), ("tokens", "judged"))  # rows that come in twos
DOCUMENTS = dict.fromkeys(("tokens", "judged"), "documents")
NONE = torch.zeros(0)


class Batches(Protocol):
    """Where rows come from."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, step: int) -> Batch: ...


@dataclass(frozen=True)
class Cell:
    """One place of a row. `mark` is a key of `MARKS`, or empty; `target` is None where nothing is asked."""

    text: str
    mark: str
    target: str | None
    document: int


@dataclass(frozen=True)
class Inspection:
    """Rows as they enter the model; `counts` are over these rows. `parts`: an encoder-decoder's rows come in twos, what
    is read and what is written. `origins`: what the sources of the rows are called."""

    objective: str
    rows: list[list[Cell]]
    counts: dict[str, int]
    parts: tuple[str, ...] = ("tokens",)
    origins: tuple[str, ...] = ()

    def title(self, at: int, voice: Voice) -> str:
        """What `rows[at]` is called."""
        number, part = divmod(at, len(self.parts))
        source = f" · {self.origins[number]}" if any(self.origins) else ""
        return voice.pick(f"row {number}", f"第 {number} 行") + source + voice.pick(*PARTS[self.parts[part]])


def inspect(
    loader: Batches, tokenizer: Vocabulary, count: int, objective: str = "", origins: Sequence[str] = ()
) -> Inspection:
    """The first `count` rows that the first epoch will train on; `objective` is what they are said to be for, `origins`
    what their sources are called."""
    batches: list[Batch] = []
    while sum(batch.rows for batch in batches) < count and len(batches) < loader.steps_per_epoch:
        batches.append(loader.batch(len(batches)))
    look = _Look(tokenizer, batches)
    parts = next((each for each in SEVERAL if each[-1] in batches[0].inputs), ("tokens",))
    rows = [row for batch in batches for row in look.rows(batch, parts)][: count * len(parts)]
    cells = [cell for row in rows for cell in row]
    marks = Counter(cell.mark for cell in cells if cell.mark)
    counts = {
        "rows": len(rows) // len(parts),
        "tokens": sum(cell.mark != "pad" for cell in cells),
        "documents": sum(len({cell.document for cell in row} - {PADDING}) for row in rows[:: len(parts)]),
        "targets": sum(cell.target is not None for cell in cells),
        **{mark: marks[mark] for mark in MARKS if marks[mark]},
    }
    return Inspection(objective or ("masked" if look.masked else "causal"), rows, counts, parts, tuple(origins))


class _Look:
    """How the places of a batch are read."""

    def __init__(self, tokenizer: Vocabulary, batches: Sequence[Batch]):
        words = Words.of(tokenizer)
        self.tokenizer, self.special, self.sentinels = tokenizer, words.is_special, frozenset(words.sentinels)
        self.mask = tokenizer.special.get("mask", -1)
        self.masked = any((batch.inputs.get("tokens", NONE) == self.mask).any() for batch in batches)

    def rows(self, batch: Batch, parts: Sequence[str]) -> list[list[Cell]]:
        """The rows of a batch, part by part."""
        found = [self._part(batch, part) for part in parts]
        return [row for several in zip(*found, strict=True) for row in several]

    def _part(self, batch: Batch, part: str) -> list[list[Cell]]:
        tokens = batch.inputs[part]
        nothing = torch.full_like(tokens, IGNORED)
        documents = batch.inputs.get(DOCUMENTS.get(part, f"{part}_documents"), torch.zeros_like(tokens))
        targets = nothing if part == "source" else batch.targets.get("tokens", nothing)
        pairs = batch.targets.get("pairs", nothing)
        behind = _behind(batch, documents)
        columns = (tokens, targets, documents, pairs, behind)
        return [self._row(*(column[at].tolist() for column in columns)) for at in range(len(tokens))]

    def _row(
        self, tokens: list[int], targets: list[int], documents: list[int], pairs: list[int], behind: list[int]
    ) -> list[Cell]:
        texts = self.tokenizer.pieces(tokens)
        asked = self.tokenizer.pieces([max(target, 0) for target in targets])
        answers = [
            PAIRS[pair] if pair != IGNORED else None if target == IGNORED else answer
            for pair, target, answer in zip(pairs, targets, asked, strict=True)
        ]
        marks = [self._mark(*place) for place in zip(tokens, targets, documents, behind, strict=True)]
        return [Cell(*cell) for cell in zip(texts, marks, answers, documents, strict=True)]

    def _mark(self, token: int, target: int, document: int, behind: int) -> str:
        if document == PADDING:
            return "pad"
        if self.masked and target != IGNORED:
            return "masked" if token == self.mask else "kept" if token == target else "replaced"
        if token == self.mask:
            return "masked"
        if token in self.sentinels:
            return "sentinel"
        return "special" if self.special[token] else SIDES[behind]


def _behind(batch: Batch, documents: Tensor) -> Tensor:
    """Places of a second text (1) or of a prefix that is seen whole (2); 0 elsewhere."""
    if "segments" in batch.inputs:
        return batch.inputs["segments"]
    if "steps" in batch.inputs:
        return 2 * (batch.inputs["steps"] == 0).long()
    if "positions" in batch.inputs:
        again = (batch.inputs["positions"] == 0).long().cumsum(1)
        first = torch.ones_like(documents, dtype=torch.bool)
        first[:, 1:] = documents[:, 1:] != documents[:, :-1]
        return (again - torch.where(first, again, 0).cummax(1).values).clamp(0, 1)
    return torch.zeros_like(documents)


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
        lines += [Text(""), Text(inspection.title(number, voice), "bold underline"), *_pairs(row, width)]
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
        if cell.document != document and cell.document != PADDING:
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
