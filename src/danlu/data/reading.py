"""Text as it streams in, row by row, none of it kept."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from danlu.data.documents import Part, cut, documents, fitting
from danlu.data.ledger import Ledger
from danlu.data.lines import Line, Stream, lines, opened
from danlu.data.sources import DataSettings, Format, Source, resolved, sources
from danlu.data.tables import READERS, SAMPLE, renamed, text_of
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
    """A document, or a piece of one: only its first piece `begins`."""

    text: str
    file: str
    line: int
    begins: bool = True


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
                        yield Row(piece.text, source.name, piece.line, piece.begins)
            self.advance(source.path.stat().st_size - before)
            self._check(source)

    def _parts(self, source: Source, file: Stream) -> Iterator[Part]:
        kind = _format(file) if source.format == "auto" else source.format
        return self._plain(source, file) if kind == "text" else self._table(kind, source, file)

    def _plain(self, source: Source, file: Stream) -> Iterator[Part]:
        stream = lines(file, source.name, self.settings.encoding)
        sample: list[Line] = []
        size = 0
        while size < LOOK and (line := next(stream, None)):
            sample.append(line)
            size += len(line.text) + 1
        borders = fitting(sample) if self.settings.documents == "auto" else self.settings.documents
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
        column, take = text_of(self.settings.text, self.settings.columns, sample, source.name)
        self._say(f"text column: {column}", f"文本列：{column}")
        for record in itertools.chain(sample, stream):
            text = take(record)
            if reason := _unusable(text):
                self.ledger.drop(reason, source.name, record.line)
            else:
                yield Part(text, record.line, True)

    def _say(self, en: str, zh: str) -> None:
        """What was inferred, once."""
        if en not in self.said:
            self.said.add(en)
            self.voice.say(en, zh)

    def _check(self, source: Source) -> None:
        total, broken = self.ledger.read or 0, self.ledger.dropped.total() - self.ledger.dropped["empty"]
        if broken > max(FEW, self.settings.broken * total) or 0 < broken == total:
            first = next(each for each in self.ledger.details if each.reason != "empty")
            raise DanluError(
                "E1210", where=f"{first.file}:{first.line}", found=first.reason, count=broken, rows=total,
                limit=f"{self.settings.broken:.1%}",
            )  # fmt: skip


def texts(settings: DataSettings, voice: Voice) -> Iterator[str]:
    """Nothing but the text of `paths`, for training a tokenizer."""
    settings = resolved(settings)
    return (row.text for row in Reading(settings, Ledger(), voice).rows(sources(settings.paths, settings)))


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
