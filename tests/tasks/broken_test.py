"""Two hundred damaged files: each is refused with a number and a place, or every row of it is in the ledger."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from danlu.errors import DanluError
from danlu.recipes.preparing.material import Material, look, material
from danlu.tasks.settings import TaskData

Rows = list[list[Any]]
LABELS = ("good", "bad", "fair")
CODE = ("E12", "E13", "E19")
LONG = 1 << 20


def rows(count: int = 80) -> Rows:
    """text, label"""
    return [[f"This is text number {n}, about 酒店 and rooms", LABELS[n % 3]] for n in range(count)]


# What is done to rows before they are written.


def missing_labels(data: Rows, chance: random.Random) -> Rows:
    return [[text, "" if chance.random() < 0.3 else label] for text, label in data]


def few_missing_labels(data: Rows, chance: random.Random) -> Rows:
    spoilt = set(chance.sample(range(len(data)), 3))
    return [[text, None if n in spoilt else label] for n, (text, label) in enumerate(data)]


def nan_labels(data: Rows, chance: random.Random) -> Rows:
    spoilt = set(chance.sample(range(len(data)), 4))
    return [[text, chance.choice(["NaN", "nan", float("nan")]) if n in spoilt else label]
            for n, (text, label) in enumerate(data)]  # fmt: skip


def all_nan(data: Rows, chance: random.Random) -> Rows:
    return [[text, float("nan")] for text, _ in data]


def empty_rows(data: Rows, chance: random.Random) -> Rows:
    return [each if chance.random() > 0.1 else ["", ""] for each in data]


def empty_texts(data: Rows, chance: random.Random) -> Rows:
    spoilt = set(chance.sample(range(len(data)), 3))
    return [[" " if n in spoilt else text, label] for n, (text, label) in enumerate(data)]


def large_cell(data: Rows, chance: random.Random) -> Rows:
    spoilt = chance.randrange(len(data))
    return [[text * (LONG // len(text)) if n == spoilt else text, label] for n, (text, label) in enumerate(data)]


def large_label(data: Rows, chance: random.Random) -> Rows:
    spoilt = chance.randrange(len(data))
    return [[text, label * LONG if n == spoilt else label] for n, (text, label) in enumerate(data)]


def one_class(data: Rows, chance: random.Random) -> Rows:
    return [[text, "good"] for text, _ in data]


def no_rows(data: Rows, chance: random.Random) -> Rows:
    return []


def one_row(data: Rows, chance: random.Random) -> Rows:
    return data[:1]


def all_labels_differ(data: Rows, chance: random.Random) -> Rows:
    return [[text, f"label {n}"] for n, (text, _) in enumerate(data)]


def surrogates(data: Rows, chance: random.Random) -> Rows:
    return [[text.replace("about", "\ufffd\u200b\x07"), label] for text, label in data]


DATA: tuple[Callable[[Rows, random.Random], Rows], ...] = (
    missing_labels, few_missing_labels, nan_labels, all_nan, empty_rows, empty_texts, large_cell, large_label,
    one_class, no_rows, one_row, all_labels_differ, surrogates,
)  # fmt: skip


# What is done to a file's bytes.


def mixed_encodings(raw: bytes, chance: random.Random) -> bytes:
    lines = raw.split(b"\n")
    spoilt = set(chance.sample(range(1, len(lines)), min(3, len(lines) - 1)))
    return b"\n".join(
        line.decode("utf8", "replace").encode("gb18030") if n in spoilt else line for n, line in enumerate(lines)
    )


def latin(raw: bytes, chance: random.Random) -> bytes:
    return raw.replace("酒店".encode(), "h\xf4tel".encode("latin1"))


def utf16(raw: bytes, chance: random.Random) -> bytes:
    return raw.decode("utf8", "replace").encode("utf-16")


def wrong_delimiter(raw: bytes, chance: random.Random) -> bytes:
    mark = chance.choice([b";", b"|", b"\t", b",", b":"])
    return raw.replace(b",", mark).replace(b"\t", mark)


def half_delimiters(raw: bytes, chance: random.Random) -> bytes:
    lines = raw.split(b"\n")
    return b"\n".join(line.replace(b"\t", b" ").replace(b",", b" ") if n > len(lines) / 2 else line
                      for n, line in enumerate(lines))  # fmt: skip


def cut_off(raw: bytes, chance: random.Random) -> bytes:
    return raw[: int(len(raw) * chance.uniform(0.3, 0.95))]


def no_header(raw: bytes, chance: random.Random) -> bytes:
    return raw.partition(b"\n")[2]


def duplicate_header(raw: bytes, chance: random.Random) -> bytes:
    return raw.replace(b"label", b"text", 1)


def header_twice(raw: bytes, chance: random.Random) -> bytes:
    head = raw.partition(b"\n")[0]
    return head + b"\n" + raw


def stray_quotes(raw: bytes, chance: random.Random) -> bytes:
    return raw.replace(b"number 1", b'number "1')


def open_quote(raw: bytes, chance: random.Random) -> bytes:
    lines = raw.split(b"\n")
    place = chance.randrange(1, max(2, len(lines)))
    return b"\n".join(b'"' + line if n == place else line for n, line in enumerate(lines))


def extra_fields(raw: bytes, chance: random.Random) -> bytes:
    lines = raw.split(b"\n")
    return b"\n".join(line + b",x\ty" if n % 7 == 3 else line for n, line in enumerate(lines))


def blank_lines(raw: bytes, chance: random.Random) -> bytes:
    return raw.replace(b"\n", b"\n\n")


def zeros(raw: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(max(1, len(raw)))
    return raw[:place] + b"\0" * 40 + raw[place:]


def random_bytes(raw: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(3000)


def nothing(raw: bytes, chance: random.Random) -> bytes:
    return b""


def carriage_returns(raw: bytes, chance: random.Random) -> bytes:
    return raw.replace(b"\n", b"\r")


def brackets(raw: bytes, chance: random.Random) -> bytes:
    return b"[" * 3000 + raw


BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    mixed_encodings, latin, utf16, wrong_delimiter, half_delimiters, cut_off, no_header, duplicate_header, header_twice,
    stray_quotes, open_quote, extra_fields, blank_lines, zeros, random_bytes, nothing, carriage_returns, brackets,
)  # fmt: skip
KINDS = ("csv", "tsv", "jsonl", "json", "conll", "parquet", "txt")


def written(data: Rows, kind: str) -> bytes:
    if kind in ("csv", "txt"):
        return ("text,label\n" + "".join(f'"{text}",{_cell(label)}\n' for text, label in data)).encode()
    if kind == "tsv":
        return ("text\tlabel\n" + "".join(f"{text}\t{_cell(label)}\n" for text, label in data)).encode()
    if kind == "conll":
        sentences = ("".join(f"{word}\t{_cell(label)}\n" for word in text.split()) for text, label in data)
        return "\n".join(sentences).encode()
    records = [{"text": text, "label": label} for text, label in data]
    if kind == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if kind == "json":
        return json.dumps(records, ensure_ascii=False, indent=1).encode()
    plain = [{"text": each["text"], "label": None if each["label"] is None else str(each["label"])} for each in records]
    sink = pyarrow.BufferOutputStream()
    schema = pyarrow.schema([("text", pyarrow.string()), ("label", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain, schema), sink)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


CASES = [(kind, change) for kind in KINDS for change in (*DATA, *BYTES)]
assert len(CASES) >= 200, len(CASES)


def attempted(settings: TaskData) -> tuple[Material | None, DanluError | None]:
    try:
        return material(look(settings, None), settings), None
    except DanluError as error:
        return None, error


@pytest.mark.parametrize(("kind", "change"), CASES, ids=lambda each: each if isinstance(each, str) else each.__name__)
def test_nothing_crashes_and_nothing_is_lost(kind: str, change: Callable[..., Any], tmp_path: Path) -> None:
    chance = random.Random(f"{kind} {change.__name__}")
    raw = written(change(rows(), chance), kind) if change in DATA else change(written(rows(), kind), chance)
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(raw)
    settings = TaskData(paths=(str(path),))
    made, error = attempted(settings)
    if error is not None:
        assert error.code.startswith(CODE), error.render("en")
        assert "broken" in str(error.where), error.render("en")
        assert "‹" not in error.render("en") + error.render("zh"), "a fact is missing"
        assert len(error.render("en")) < 3000
        return
    assert made is not None
    ledger = made.ledger
    used = len(made.training) + len(made.validation) + len(made.test)
    assert ledger.rows == ledger.read == used + ledger.dropped.total()
    assert all(each.file == str(path) and each.line > 0 for each in ledger.details)
    assert len(ledger.details) == ledger.dropped.total()
    places = [(row.file, row.line) for row in (*made.training, *made.validation, *made.test)]
    assert len(set(places)) == len(places)


def test_the_place_of_a_damage_is_named(tmp_path: Path) -> None:
    data = rows()
    data[41][1] = "nan"
    path = tmp_path / "broken.csv"
    path.write_bytes(written(data, "csv"))
    settings = TaskData(paths=(str(path),))
    (dropped,) = material(look(settings, None), settings).ledger.details
    assert (dropped.reason, dropped.file, dropped.line) == ("no label", str(path), 43)
