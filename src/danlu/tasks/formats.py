"""Readers of files that are no tables: tagged sentences, JSON documents, lines side by side, folders of classes."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from danlu.data.ledger import Ledger
from danlu.data.lines import lines, opened
from danlu.data.tables import Record, whole_lines
from danlu.errors import DanluError

CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
TEXT_ENDS = (".txt", ".text", ".md")
LARGEST = 1 << 30  # bytes of a JSON document, which is read as a whole


def conll(path: Path, where: str, encoding: str, ledger: Ledger, others: tuple[Path, ...]) -> Iterator[Record]:
    """A word a line, its columns between tabs or spaces, sentences between blank lines: CoNLL, BMES, CoNLL-U.

    A sentence with a line of another number of columns is dropped.
    """
    sentence: list[tuple[int, list[str]]] = []
    columns, tab = 0, False
    with opened(path) as (file, _):
        for text, number, _ in whole_lines(lines(file, where, encoding)):
            if not text.strip():
                yield from _sentence(sentence, columns, where, ledger)
                sentence = []
                continue
            if not columns:
                if text.startswith("#") and "\t" not in text:
                    continue
                tab = "\t" in text
            fields = text.split("\t") if tab else text.split()
            columns = columns or len(fields)
            if text.startswith("#") and len(fields) != columns:
                continue
            sentence.append((number, fields))
    yield from _sentence(sentence, columns, where, ledger)


def _sentence(rows: list[tuple[int, list[str]]], columns: int, where: str, ledger: Ledger) -> Iterator[Record]:
    if not rows or all(fields[0] == "-DOCSTART-" for _, fields in rows):
        return
    ledger.count()
    wrong = [number for number, fields in rows if len(fields) != columns or not all(fields)]
    if wrong or columns < 2:
        ledger.drop("wrong fields", where, (wrong or [rows[0][0]])[0])
        return
    universal = columns == len(CONLLU)
    kept = [
        fields for _, fields in rows if not universal or fields[0].isdecimal()
    ]  # 1-2 and 1.1 stand beside the words
    names = CONLLU if universal else ("tokens", *(f"column_{number}" for number in range(2, columns)), "tags")
    yield Record({name: [fields[place] for fields in kept] for place, name in enumerate(names)}, rows[0][0])


def document(path: Path, where: str, encoding: str, ledger: Ledger, others: tuple[Path, ...]) -> Iterator[Record]:
    """One JSON value: a list of objects, {"data": [...]} around one, SQuAD's articles; or JSON lines after all.

    A record's line is its number in the list.
    """
    with opened(path) as (file, _):
        text = "\n".join(line.text for line in whole_lines(lines(file, where, encoding)))
    if len(text) > LARGEST:
        raise DanluError("E1212", where=where, found=f"{len(text):,}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        yield from _json_lines(text, where, ledger, error)
        return
    rows = value.get("data", value.get("rows", [value])) if isinstance(value, dict) else value
    number = 0
    for row in rows if isinstance(rows, list) else [rows]:
        for each in _squad(row):
            number += 1
            ledger.count()
            if isinstance(each, dict):
                yield Record(each, number)
            else:
                ledger.drop("not an object", where, number)


def _json_lines(text: str, where: str, ledger: Ledger, error: Exception) -> Iterator[Record]:
    if not text.lstrip().startswith("{") or "\n" not in text.strip():
        raise DanluError("E1906", where=where, found=error) from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        ledger.count()
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield Record(row, number)
        else:
            ledger.drop("not JSON", where, number)


def _squad(row: Any) -> Iterator[Any]:
    """The questions of an article; anything else as it is."""
    paragraphs = row.get("paragraphs") if isinstance(row, dict) else None
    if not isinstance(paragraphs, list):
        yield row
        return
    for paragraph in paragraphs:
        for asked in paragraph.get("qas", []) if isinstance(paragraph, dict) else []:
            told = asked.get("answers") or []
            answers = {"text": [a.get("text") for a in told], "answer_start": [a.get("answer_start") for a in told]}
            yield {"question": asked.get("question"), "context": paragraph.get("context"), "answers": answers}


def side_by_side(path: Path, where: str, encoding: str, ledger: Ledger, others: tuple[Path, ...]) -> Iterator[Record]:
    """Files whose lines belong together; a column for each, named as the file ends (`de`). The first two are source and
    target unless the columns say otherwise. E1905 where they are not of one length."""
    texts = {}
    for each in (path, *others):
        with opened(each) as (file, _):
            name = each.name.lower().removesuffix(".gz").rpartition(".")[2]
            texts[name] = [line.text for line in whole_lines(lines(file, str(each), encoding))]
    if len(texts) < 2 or len(set(map(len, texts.values()))) > 1:
        raise DanluError("E1905", where=where, found=[len(each) for each in texts.values()])
    for number, several in enumerate(zip(*texts.values(), strict=True), 1):
        ledger.count()
        yield Record({"source": several[0], "target": several[1]} | dict(zip(texts, several, strict=True)), number)


def folders(path: Path, where: str, encoding: str, ledger: Ledger, others: tuple[Path, ...]) -> Iterator[Record]:
    """A text a file, its class the name of the folder it stands in; the line of a record is the file's number."""
    number = 0
    for each in sorted(path.rglob("*")):
        if not each.is_file() or not each.name.lower().removesuffix(".gz").endswith(TEXT_ENDS):
            continue
        number += 1
        ledger.count()
        with opened(each) as (file, _):
            text = "\n".join(line.text for line in whole_lines(lines(file, str(each), encoding)))
        yield Record({"text": text, "label": each.parent.name}, number)


Reader = Callable[[Path, str, str, Ledger, tuple[Path, ...]], Iterator[Record]]
FORMATS: Mapping[str, Reader] = {
    "conll": conll, "json": document, "lines": side_by_side, "folders": folders,
}  # fmt: skip
