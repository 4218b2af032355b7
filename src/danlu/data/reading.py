"""Text as it streams in, row by row, none of it kept."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from danlu.data.documents import Part, cut, documents, fitting
from danlu.data.ledger import SIFTED, Ledger
from danlu.data.lines import Line, Stream, lines, opened
from danlu.data.sources import DataSettings, Format, Source
from danlu.data.tables import READERS, SAMPLE, Record, known, renamed, text_of, whole_lines
from danlu.errors import DanluError
from danlu.voice import Voice

FEW = 10  # broken rows that any file may have
LOOK = 1 << 20  # characters looked at to find the borders of documents

BORDERS = {
    "file": ("documents: each file as a whole", "文档：每个文件为一篇"),
    "paragraphs": ("documents: paragraphs between blank lines", "文档：以空行分隔的段落"),
    "lines": ("documents: each line", "文档：每行一篇"),
}


class Row(NamedTuple):
    """A document, or a piece of one: only its first piece `begins`. side: which language it is in, of translations."""

    text: str
    file: str
    line: int
    begins: bool = True
    side: int = 0


@dataclass
class Reading:
    """One pass over sources. What cannot be used is dropped into the ledger; `advance` is told the bytes read."""

    settings: DataSettings
    ledger: Ledger
    voice: Voice
    advance: Callable[[int], None] = lambda count: None
    said: set[str] = field(default_factory=set)

    def rows(self, found: list[Source]) -> Iterator[Row]:
        """Every row in pieces. E1210 where too many rows are broken; other errors are those of the formats."""
        for source in found:
            before = 0
            with opened(source.path) as (file, raw):
                for number, part in enumerate(self._parts(source, file)):
                    if number % 64 == 0:
                        now = raw.tell()
                        self.advance(now - before)
                        before = now
                    for piece in cut(part):
                        yield Row(piece.text, source.name, piece.line, piece.begins, piece.side)
            self.advance(source.size - before)
            self._check(source)

    def _parts(self, source: Source, file: Stream) -> Iterator[Part]:
        if source.sides:
            return self._aligned(source, file)
        kind = _format(file) if source.format == "auto" else source.format
        return self._plain(source, file) if kind == "text" else self._table(kind, source, file)

    def _plain(self, source: Source, file: Stream) -> Iterator[Part]:
        stream = lines(file, source.name, self.settings.encoding)
        sample: list[Line] = []
        size = 0
        while size < LOOK and (line := next(stream, None)):
            sample.append(line)
            size += len(line.text) + 1
        borders = self.settings.documents
        if borders == "auto":
            borders = fitting(sample, self.settings.sifts)
        empty = True
        for part in documents(itertools.chain(sample, stream), borders):
            if empty:
                self._say(*BORDERS[borders])
            empty = False
            if part.begins:
                self.ledger.count()
            yield part
        if empty:
            self.ledger.count()
            self.ledger.drop("empty", source.name, 1)

    def _aligned(self, source: Source, file: Stream) -> Iterator[Part]:
        """Lines of several files, translations of each other. E1228 where one has more lines than another."""
        names = source.name.split(" + ")
        with ExitStack() as stack:
            streams = [file, *(stack.enter_context(opened(path))[0] for path in source.sides)]
            several = [
                whole_lines(lines(each, name, self.settings.encoding))
                for each, name in zip(streams, names, strict=True)
            ]
            for number, row in enumerate(itertools.zip_longest(*several), 1):
                if None in row:
                    short, long = (names[[each is None for each in row].index(gone)] for gone in (True, False))
                    raise DanluError("E1228", where=short, found=number - 1, other=long, possible=f"≥ {number}")
                self.ledger.count()
                yield from self._sides([each.text for each in row], source.name, number)

    def _table(self, kind: Format, source: Source, file: Stream) -> Iterator[Part]:
        before = self.ledger.read
        read = READERS[kind](file, source.name, self.settings.encoding, self.ledger)
        stream = (renamed(record, self.settings.columns) for record in read)
        sample = list(itertools.islice(stream, SAMPLE))
        if not sample:
            if self.ledger.read == before:
                self.ledger.count()
                self.ledger.drop("empty", source.name, 1)
            return
        if self.settings.parallel:
            yield from self._columns(itertools.chain(sample, stream), sample, source)
            return
        column, take = text_of(self.settings.text, self.settings.columns, sample, source.name)
        self._say(f"text column: {column}", f"文本列：{column}")
        for record in itertools.chain(sample, stream):
            text = take(record)
            if reason := _unusable(text):
                self.ledger.drop(reason, source.name, record.line)
            else:
                yield Part(text, record.line, True)

    def _columns(self, records: Iterator[Record], sample: list[Record], source: Source) -> Iterator[Part]:
        """Columns that are translations of each other."""
        columns = [known(name, sample, source.name) for name in self.settings.parallel.values()]
        for record in records:
            yield from self._sides([record.values.get(column) for column in columns], source.name, record.line)

    def _sides(self, texts: Sequence[Any], file: str, line: int) -> Iterator[Part]:
        """The sides of one translation: all of them, or none."""
        reasons = [reason for text in texts if (reason := _unusable(text))]
        if reasons:
            self.ledger.drop(reasons[0] if len(reasons) == len(texts) else "one side", file, line)
            return
        for side, text in enumerate(texts):
            yield Part(text.strip(), line, side == 0, side)

    def _say(self, en: str, zh: str) -> None:
        """What was inferred, once."""
        if en not in self.said:
            self.said.add(en)
            self.voice.say(en, zh)

    def _check(self, source: Source) -> None:
        total = self.ledger.read or 0
        broken = sum(count for reason, count in self.ledger.dropped.items() if reason not in SIFTED)
        if broken > max(FEW, self.settings.broken * total) or 0 < broken == total:
            first = next(each for each in self.ledger.details if each.reason not in SIFTED)
            raise DanluError(
                "E1210", where=f"{first.file}:{first.line}", found=first.reason, count=broken, rows=total,
                limit=f"{self.settings.broken:.1%}",
            )  # fmt: skip


def _unusable(text: Any) -> str | None:
    """Why a row's text cannot be used."""
    if text is None:
        return "no column"
    if not isinstance(text, str):
        return "not text"
    if not text.strip():
        return "empty"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "surrogate"
    return None


def _format(file: Stream) -> Format:
    """By the first bytes, where the name says nothing."""
    head = file.peek(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    try:
        return "jsonl" if isinstance(json.loads(head.partition(b"\n")[0]), dict) else "text"
    except (ValueError, RecursionError):
        return "text"
