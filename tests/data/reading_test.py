"""Every format and encoding, whole and broken."""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from danlu.data.documents import PIECE
from danlu.data.ledger import Dropped, Ledger
from danlu.data.reading import Reading, Row
from danlu.data.sources import DataSettings, resolved, sources
from danlu.data.texts import texts
from danlu.errors import DanluError
from danlu.voice import Voice

Make = Callable[..., DataSettings]
TEXTS = ["First, a line.", "第二行：有“引号”。", 'A third\nwith a line end, and "quotes"; too']


def read(settings: DataSettings, voice: Voice | None = None) -> tuple[list[Row], Ledger]:
    settings = resolved(settings)
    ledger = Ledger(read=0)
    rows = list(Reading(settings, ledger, voice or Voice(quiet=True)).rows(sources(settings.paths, settings)))
    ledger.trained = sum(row.begins for row in rows)
    return rows, ledger.check()


def csv_text(rows: list[dict[str, str]], separator: str = ",") -> str:
    def quoted(field: str) -> str:
        return '"' + field.replace('"', '""') + '"' if set(field) & {separator, '"', "\n"} else field

    lines = [rows[0].keys(), *(row.values() for row in rows)]
    return "".join(separator.join(quoted(field) for field in line) + "\n" for line in lines)


def parquet_bytes(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


ROWS = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]
FORMATS = {
    "a.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "a.json": "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(),
    "a.csv": csv_text(ROWS).encode("utf-8-sig"),
    "b.csv": csv_text(ROWS, ";").encode("utf-16"),
    "a.parquet": parquet_bytes(ROWS),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_every_table_gives_the_same_rows(name: str, packed: bool, tmp_path: Path, settings: Make) -> None:
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(FORMATS[name]) if packed else FORMATS[name])
    rows, ledger = read(settings(path))
    assert [row.text for row in rows] == TEXTS
    assert all(row.file == str(path) for row in rows)
    assert ledger.rows == 3


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_name_without_an_ending_is_told_by_its_content(name: str, tmp_path: Path, settings: Make) -> None:
    (tmp_path / "data").write_bytes(FORMATS[name])
    assert [row.text for row in read(settings(tmp_path / "data"))[0]] == TEXTS


def test_tsv_without_quoting(tmp_path: Path, settings: Make) -> None:
    (tmp_path / "a.tsv").write_text('label\tsentence\n1\tshe said "no\n0\tfine\n')
    rows, _ = read(settings(tmp_path / "a.tsv"))
    assert [(row.text, row.line) for row in rows] == [('she said "no', 2), ("fine", 3)]


LONG = "word " * 250
PLAIN = "One\ntwo\n\n\nthree\r\nfour \n \n\n"


@pytest.mark.parametrize(
    ("text", "borders", "expected"),
    [
        (PLAIN, "file", [("One\ntwo\n\n\nthree\nfour ", 1)]),
        (PLAIN, "paragraphs", [("One\ntwo", 1), ("three\nfour ", 5)]),
        (PLAIN, "lines", [("One", 1), ("two", 2), ("three", 5), ("four ", 6)]),
        (PLAIN, "auto", [("One\ntwo\n\n\nthree\nfour ", 1)]),
        (f"{LONG}\n{LONG}\n", "auto", [(LONG, 1), (LONG, 2)]),
        (f"title\n{LONG}\n\ntitle\n{LONG}", "auto", [(f"title\n{LONG}", 1), (f"title\n{LONG}", 4)]),
        ("old\rMac\rfile", "file", [("old\nMac\nfile", 1)]),
    ],
)
def test_documents_of_plain_text(
    text: str, borders: str, expected: list[tuple[str, int]], tmp_path: Path, settings: Make
) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode())
    rows, ledger = read(settings(tmp_path / "a.txt", documents=borders))
    assert [(row.text, row.line) for row in rows] == expected
    assert ledger.rows == len(expected)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030", "gbk"])
def test_encodings_are_recognised(encoding: str, tmp_path: Path, settings: Make) -> None:
    text = "这是第一行，我们在这里说的是中国的故事。\nAnd some English, so that every byte pair is met.\n"
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert [row.text for row in read(settings(tmp_path / "a.txt"))[0]] == [text.strip()]


def test_an_encoding_can_be_said(tmp_path: Path, settings: Make) -> None:
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    assert read(settings(tmp_path / "a.txt", encoding="latin-1"))[0][0].text == "café"


@pytest.mark.parametrize(
    "unit", ["A sentence without end goes on. ", "没有换行的长句子。", "x", "line\n", " \n\n  word"]
)
def test_long_documents_come_in_pieces_and_lose_nothing(unit: str, tmp_path: Path, settings: Make) -> None:
    text = (unit * (300_000 // len(unit))).strip()
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text}) + "\n")
    for name in ("a.txt", "b.jsonl"):
        rows, ledger = read(settings(tmp_path / name, documents="file"))
        assert "".join(row.text for row in rows) == text
        assert [row.begins for row in rows] == [True] + [False] * (len(rows) - 1)
        assert max(len(row.text) for row in rows) <= PIECE
        assert len(rows) < 3 * len(text) / PIECE
        assert ledger.rows == 1


def test_pieces_are_cut_before_white_space(tmp_path: Path, settings: Make) -> None:
    (tmp_path / "a.txt").write_text("Some words of a sentence.\nAnd a new line. " * 5000)
    rows, _ = read(settings(tmp_path / "a.txt"))
    assert len(rows) > 10
    assert all(row.text.startswith("\n") for row in rows[1:])


def test_folders_are_read_in_order(tmp_path: Path, settings: Make) -> None:
    for name in ("b.txt", "a/z.md", "a/.hidden.txt", ".git/x.txt", "picture.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    assert [row.text for row in read(settings(tmp_path / "in"))[0]] == ["a/z.md", "b.txt"]


def test_standard_input_can_be_read_again(monkeypatch: pytest.MonkeyPatch, settings: Make) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    fixed = resolved(settings("-"))
    for _ in range(2):
        assert [row.text for row in read(fixed)[0]] == ["from a pipe"]


def test_columns_are_chosen_named_and_joined(tmp_path: Path, settings: Make) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,headline,story body,stars\n1,Hello,the world,5\n2,Bye,the moon,3\n")
    assert [row.text for row in read(settings(path, text="story body"))[0]] == ["the world", "the moon"]
    assert [row.text for row in read(settings(path, columns={"text": "headline"}))[0]] == ["Hello", "Bye"]
    assert read(settings(path, text="{headline}: {story body} {stars}"))[0][0].text == "Hello: the world 5"
    path.write_text("id,stars,评论\n1,5,很好\n2,3,一般\n")
    assert [row.text for row in read(settings(path))[0]] == ["很好", "一般"], "the only column of text"


def test_what_is_inferred_is_said(tmp_path: Path, settings: Make) -> None:
    (tmp_path / "a.csv").write_text("id,stars,评论\n1,5,很好\n")
    (tmp_path / "b.txt").write_text("short\n")
    stream = io.StringIO()
    read(settings(tmp_path), Voice("en", stream))
    assert stream.getvalue().splitlines() == ["text column: 评论", "documents: each file as a whole"]


def test_texts_for_a_tokenizer(tmp_path: Path, settings: Make, voice: Voice) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    assert list(texts(settings(tmp_path / "a.txt", documents="lines"), voice)) == ["one", "two"]


GOOD = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(100)).encode()
JSONL_AND = [
    (b"{broken\n", "not JSON"), (b"[1, 2]\n", "not an object"), (b'{"other": 1}\n', "no column"),
    (b'{"text": null}\n', "no column"), (b'{"text": ["a"]}\n', "not text"), (b'{"text": "  "}\n', "empty"),
    (b'{"text": "\\ud800"}\n', "surrogate"), (b"[" * 100_000 + b"\n", "not JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "reason"), JSONL_AND)
def test_single_broken_rows_go_to_the_ledger(line: bytes, reason: str, tmp_path: Path, settings: Make) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n" + line + GOOD)
    rows, ledger = read(settings(path))
    assert len(rows) == 200
    assert ledger.details == [Dropped(reason, str(path), 102)]


@pytest.mark.parametrize(
    ("lines", "reason", "at"),
    [
        (["1,a", "2,b,c", "3,d"], "wrong fields", 3),
        (["1,a", "2", "3,d"], "wrong fields", 3),
        (["1,a", '2,"b" c', "3,d"], "stray quote", 3),
    ],
)
def test_single_broken_rows_of_a_csv_file(
    lines: list[str], reason: str, at: int, tmp_path: Path, settings: Make
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["id,text", *lines]))
    rows, ledger = read(settings(path))
    assert [row.text for row in rows] == ["a", "d"]
    assert ledger.details == [Dropped(reason, str(path), at)]


def test_an_empty_file_among_others_is_in_the_ledger(tmp_path: Path, settings: Make) -> None:
    for name, text in (("a.txt", ""), ("b.txt", "\n \n"), ("c.csv", "id,text\n"), ("d.jsonl", ""), ("e.txt", "text")):
        (tmp_path / name).write_text(text)
    rows, ledger = read(settings(tmp_path))
    assert len(rows) == 1
    assert [Path(each.file).name for each in ledger.details] == ["a.txt", "b.txt", "c.csv", "d.jsonl"]


UTF8 = "好".encode()
BROKEN: dict[str, tuple[str, bytes, str, str]] = {
    "not UTF-8": ("a.txt", b"fine\n" * 3 + UTF8 + b" \xff\xfe\n", "E1204", "a.txt:4"),
    "half a character": ("a.txt", b"fine\n" + UTF8[:2], "E1204", "a.txt:2"),
    "late GBK": ("a.txt", b"fine\n" * 30_000 + "我们是中国人".encode("gbk"), "E1204", "gb18030"),
    "UTF-16 cut": ("a.txt", "text\nmore".encode("utf-16")[:-1], "E1204", "a.txt:2"),
    "JSONL not UTF-8": ("a.jsonl", GOOD + b'{"text": "\xff"}\n', "E1204", "a.jsonl:101"),
    "PDF": ("a.txt", b"%PDF-1.7\n", "E1205", "PDF"),
    "zip": ("a.jsonl", b"PK\x03\x04rest", "E1205", "zip"),
    "binary": ("a.csv", bytes(range(256)) * 4, "E1205", "binary"),
    "gzip cut": ("a.txt.gz", gzip.compress(b"text" * 10_000)[:-20], "E1207", "a.txt.gz"),
    "gzip flipped": ("a.txt.gz", gzip.compress(b"text" * 10_000)[:-6] + b"xxxxxx", "E1207", "a.txt.gz"),
    "Parquet cut": ("a.parquet", FORMATS["a.parquet"][:-10], "E1208", "a.parquet:1"),
    "Parquet flipped": (
        "a.parquet",
        FORMATS["a.parquet"][:4] + b"\xff" * 60 + FORMATS["a.parquet"][64:],
        "E1208",
        "a.parquet",
    ),
    "no header": ("a.csv", b"0,0,0\n1,a,b\n", "E1209", "a.csv:1"),
    "one name twice": ("a.tsv", b"text\ttext\na\tb\n", "E1209", "a.tsv:1"),
    "open quote": ("a.csv", b'id,text\n1,a\n2,"b\n3,c\n', "E1216", "a.csv:3"),
    "two columns of text": ("a.csv", b"title,abstract\nx,y\n", "E1206", "title, abstract"),
    "all broken": ("a.jsonl", b"not\njson\nat all\n", "E1210", "a.jsonl:1"),
    "many broken": ("a.jsonl", GOOD + b"no\n" * 11 + GOOD, "E1210", "a.jsonl:101"),
    "a JSON array": ("a.json", b'[\n{"text": "a"}\n]', "E1212", "a.json"),
    "a JSON array in one line": ("a.json", b'[{"text": "a"}]', "E1212", "a.json"),
    "a pretty JSON object": ("a.json", b'{\n"text": "a"\n}', "E1212", "a.json"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_with_a_number_and_a_mend(case: str, tmp_path: Path, settings: Make) -> None:
    name, content, code, place = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DanluError) as caught:
        read(settings(tmp_path / name))
    error = caught.value
    assert error.code == code
    for language in ("en", "zh"):
        assert name in error.render(language)
    assert place in error.render("en")


def test_the_byte_is_right(tmp_path: Path, settings: Make) -> None:
    content = "好的\r\n".encode() * 100_000 + b"ab\x80c"
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DanluError) as caught:
        read(settings(tmp_path / "a.txt"))
    assert caught.value.facts == {"line": 100_001, "byte": len(content) - 2, "encoding": "utf-8"}


def test_more_broken_rows_can_be_allowed(tmp_path: Path, settings: Make) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"no\n" * 11)
    assert read(settings(tmp_path / "a.jsonl", broken=0.2))[1].dropped["not JSON"] == 11


@pytest.mark.parametrize(
    ("path", "given", "code", "said"),
    [
        ("is/there.tx", {}, "E1201", "there.txt"),
        ("is/empty", {}, "E1202", ".png"),
        ("builtin:englsh", {}, "E1215", "english"),
        ("is/there.txt", {"encoding": "utf-9"}, "E1214", "utf-9"),
        ("is/rows.csv", {"text": "txet"}, "E1203", "did you mean: text"),
        ("is/rows.csv", {"text": "{tilte}"}, "E1203", "title"),
        ("is/rows.csv", {"columns": {"text": "body"}}, "E1203", "body"),
    ],
)
def test_wrong_names(path: str, given: dict[str, Any], code: str, said: str, tmp_path: Path, settings: Make) -> None:
    (tmp_path / "is/empty").mkdir(parents=True)
    (tmp_path / "is/empty/picture.png").write_bytes(b"")
    (tmp_path / "is/there.txt").write_text("text")
    (tmp_path / "is/rows.csv").write_text("id,title,text\n1,a,b\n")
    where = path if ":" in path else tmp_path / path
    with pytest.raises(DanluError, match=code) as caught:
        read(settings(where, **given))
    assert said in caught.value.render("en")


def test_a_template_takes_columns_and_nothing_else(tmp_path: Path, settings: Make) -> None:
    (tmp_path / "a.csv").write_text("text,n\nhello,1\n")
    with pytest.raises(DanluError, match="E1203"):
        read(settings(tmp_path / "a.csv", text="{text.__class__}"))


def test_memory_stays_small(tmp_path: Path, settings: Make) -> None:
    """Rows come one by one: the first is there long before the end of the file is read."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for number in range(50_000):
            file.write(json.dumps({"text": f"row {number} " * 10}) + "\n")
    told: list[int] = []
    given = settings(path)
    stream = Reading(given, Ledger(read=0), Voice(quiet=True), told.append).rows(sources(given.paths, given))
    next(stream)
    assert sum(told) < path.stat().st_size / 2
    assert sum(1 for _ in stream) == 49_999
    assert sum(told) == path.stat().st_size
