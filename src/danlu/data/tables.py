"""Rows with named columns: JSON lines, CSV, TSV and Parquet, one at a time."""

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

from danlu.data.ledger import Ledger
from danlu.data.lines import Line, Stream, lines, opened
from danlu.data.sources import Source
from danlu.errors import DanluError, nearest

TEXT_COLUMNS = (
    "text", "content", "document", "body", "article", "story", "review", "sentence", "文本", "内容", "正文", "句子",
)  # fmt: skip
DELIMITERS = (",", ";", "\t", "|")
LONGEST_FIELD = 1 << 28  # characters in one CSV field; an unclosed quotation mark swallows no more than this
SAMPLE = 100  # rows looked at to find the text column


class Record(NamedTuple):
    """One row of a table; `line` counts from 1, in Parquet rows."""

    values: dict[str, Any]
    line: int


def jsonl(file: Stream, where: str, encoding: str, ledger: Ledger) -> Iterator[Record]:
    """One JSON object a line; blank lines are no rows. E1212 where the file is one large JSON value."""
    first = True
    for text, number, _ in whole_lines(lines(file, where, encoding)):
        if not text.strip():
            continue
        ledger.count()
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            if first and text.strip() in ("[", "{", "[{"):
                raise DanluError("E1212", where=where, found=text.strip()) from None
            ledger.drop("not JSON", where, number)
            continue
        if first and isinstance(values, list):
            raise DanluError("E1212", where=where, found="[…]")
        first = False
        if isinstance(values, dict):
            yield Record(values, number)
        else:
            ledger.drop("not an object", where, number)


def csv_rows(file: Stream, where: str, encoding: str, ledger: Ledger) -> Iterator[Record]:
    """Comma-separated values with a header; semicolons, tabs or bars separate where the header has more of those."""
    rest = whole_lines(lines(file, where, encoding))
    head = next(rest, None)
    if head is None:
        return
    delimiter = max(DELIMITERS, key=head.text.count)
    csv.field_size_limit(LONGEST_FIELD)  # the csv module keeps one limit for everybody; it only ever grows here
    text = (line.text + "\n" for line in itertools.chain([head], rest))
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    names: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or "larger than" in str(error) or names is None:
                raise DanluError("E1216", where=f"{where}:{start}", line=start) from error
            ledger.count()
            ledger.drop("stray quote", where, start)
            continue
        if names is None:
            names = _header(fields, where)
        elif fields:
            ledger.count()
            if len(fields) == len(names):
                yield Record(dict(zip(names, fields, strict=True)), start)
            else:
                ledger.drop("wrong fields", where, start)


def tsv_rows(file: Stream, where: str, encoding: str, ledger: Ledger) -> Iterator[Record]:
    """Tab-separated values with a header; quotation marks mean nothing."""
    names: list[str] | None = None
    for text, number, _ in whole_lines(lines(file, where, encoding)):
        fields = text.split("\t")
        if names is None:
            names = _header(fields, where)
        elif text:
            ledger.count()
            if len(fields) == len(names):
                yield Record(dict(zip(names, fields, strict=True)), number)
            else:
                ledger.drop("wrong fields", where, number)


def parquet(file: Stream, where: str, encoding: str, ledger: Ledger) -> Iterator[Record]:
    """The rows of a Parquet file. E1208 where it is damaged."""
    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                ledger.count()
                yield Record(values, number)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DanluError("E1208", where=f"{where}:{number + 1}", found=str(error).splitlines()[0]) from error


READERS: Mapping[str, Callable[[Stream, str, str, Ledger], Iterator[Record]]] = {
    "jsonl": jsonl,
    "csv": csv_rows,
    "tsv": tsv_rows,
    "parquet": parquet,
}


def whole_lines(parts: Iterator[Line]) -> Iterator[Line]:
    """Parts of one long line joined."""
    held: list[str] = []
    for text, number, whole in parts:
        held.append(text)
        if whole:
            yield Line("".join(held) if len(held) > 1 else text, number)
            held = []
    if held:
        yield Line("".join(held), number)


def renamed(record: Record, columns: Mapping[str, str]) -> Record:
    """The record with our names (keys of `columns`) beside the file's own."""
    values = record.values
    return Record(values | {ours: values.get(theirs) for ours, theirs in columns.items()}, record.line)


def text_of(
    text: str, columns: Mapping[str, str], sample: Sequence[Record], where: str | Path
) -> tuple[str, Callable[[Record], Any]]:
    """(which column, how to take the text from a record). `text` is auto, a column, or a template as "{title}: {body}".

    E1203 where a column is missing, E1206 where no column stands out.
    """
    names = list(dict.fromkeys(name for record in sample for name in record.values))
    for theirs in columns.values():
        _known_in(theirs, names, where)
    names += [ours for ours in columns if ours not in names]
    if fields := re.findall(r"\{([^{}]+)\}", text):
        for field in fields:
            _known_in(field, names, where)
        return text, lambda record: _filled(text, fields, record)
    column = _known_in(text, names, where) if text != "auto" else _text_column(names, sample, where)
    return column, lambda record: record.values.get(column)


def _filled(template: str, fields: Sequence[str], record: Record) -> str | None:
    if any(record.values.get(field) is None for field in fields):
        return None
    return re.sub(r"\{([^{}]+)\}", lambda found: str(record.values[found[1]]), template)


def known(name: str, sample: Sequence[Record], where: str | Path) -> str:
    """The same name, if the records have such a column. E1203 where they have not."""
    return _known_in(name, list(dict.fromkeys(each for record in sample for each in record.values)), where)


def text_columns(source: Source, encoding: str) -> list[str]:
    """The columns of a table that hold text, by its first rows. E1206 for a file that is no table."""
    if source.format not in READERS:
        raise DanluError("E1206", where=source.name, possible=list(READERS))
    with opened(source.path) as (file, _):
        sample = list(itertools.islice(READERS[source.format](file, source.name, encoding, Ledger()), SAMPLE))
    names = list(dict.fromkeys(name for record in sample for name in record.values))
    return [name for name in names if _is_text([record.values.get(name) for record in sample])]


def _known_in(name: str, names: Sequence[str], where: str | Path) -> str:
    if name not in names:
        raise DanluError("E1203", where=where, name=name, possible=names, nearest=nearest(name, names))
    return name


def _text_column(names: Sequence[str], sample: Sequence[Record], where: str | Path) -> str:
    by_name = {name.strip().lower(): name for name in names}
    for known in TEXT_COLUMNS:
        if known in by_name:
            return by_name[known]
    texts = [name for name in names if _is_text([record.values.get(name) for record in sample])]
    if len(texts) != 1:
        raise DanluError("E1206", where=where, possible=texts or names)
    return texts[0]


def _is_text(values: Sequence[Any]) -> bool:
    """Whether a column holds text, not numbers or structures; a CSV file's numbers are strings of digits."""
    there = [value for value in values if value is not None]
    if not there or not all(isinstance(value, str) for value in there):
        return False
    return not all(re.fullmatch(r"[-+.,\d\s%eE]*", value) for value in there)


def _header(fields: Sequence[str], where: str) -> list[str]:
    names = [field.strip() for field in fields]
    odd = [name for name in names if len(name) > 200 or re.fullmatch(r"[-+.\d]+", name)]
    if odd or len(set(names)) < len(names):
        raise DanluError("E1209", where=f"{where}:1", found=names)
    return names
