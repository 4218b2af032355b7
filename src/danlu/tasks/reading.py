"""Files of rows with answers: which they are, what each is for, and their records as they stand."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from danlu.data.ledger import Ledger
from danlu.data.lines import Stream, opened
from danlu.data.sources import SUFFIXES, DataSettings, resolved, sources
from danlu.data.tables import READERS, Record
from danlu.errors import DanluError
from danlu.files import at_home
from danlu.tasks.formats import FORMATS
from danlu.tasks.settings import TaskData

Part = Literal["train", "validation", "test"]
WORDS: dict[str, Part] = {
    "train": "train", "training": "train", "trn": "train", "dev": "validation", "valid": "validation",
    "validation": "validation", "val": "validation", "test": "test", "tst": "test", "testing": "test",
}  # fmt: skip
MORE_SUFFIXES = {
    ".json": "json", ".conll": "conll", ".conllu": "conll", ".bmes": "conll", ".bio": "conll", ".iob": "conll",
    ".bmeo": "conll", ".bioes": "conll", ".ner": "conll",
}  # fmt: skip
LANGUAGE = re.compile(r"\.([a-z]{2,3})(\.gz)?$")
FEW = 10  # broken rows that any file may have


@dataclass(frozen=True)
class File:
    """others: files whose lines stand beside its own."""

    path: Path
    name: str
    format: str
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Table:
    """The records of the files of one part, and the file of each."""

    records: tuple[tuple[Record, str], ...]
    formats: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """Columns, in order of appearance."""
        return list(dict.fromkeys(name for record, _ in self.records for name in record.values))

    def column(self, name: str) -> list[Any]:
        return [record.values.get(name) for record, _ in self.records]


def part_of(name: str) -> Part | None:
    """What a file's name, or its folder's, says it is for: `sst2.train.tsv`, `dev.csv`, `test_public.json`."""
    path = Path(name)
    for part in (path.name, path.parent.name):
        words = re.split(r"[^a-z]+", part.lower())
        if found := next((WORDS[word] for word in words if word in WORDS), None):
            return found
    return None


def files(settings: TaskData) -> dict[Part, list[File]]:
    """The files of each part. E1201, E1202 where there are none."""
    plain = resolved(DataSettings(paths=settings.paths, validation=settings.validation, cache=settings.cache))
    found: dict[Part, list[File]] = {"train": [], "validation": [], "test": []}
    for each in _behind(plain.paths, settings):
        found[part_of(each.name) or "train"].append(each)
    if not found["train"]:  # a lone file called test is what there is to learn from
        first: Part = "validation" if found["validation"] else "test"
        found["train"], found[first] = found[first], []
    found["validation"] += _behind(plain.validation, settings)
    found["test"] += _behind(settings.test, settings)
    return found


def _behind(paths: Sequence[str], settings: TaskData) -> list[File]:
    found = [file for path in paths for file in _one(path, settings)]
    return _paired(found) if settings.format in ("auto", "lines") else found


def _one(path: str, settings: TaskData) -> list[File]:
    place = at_home(path)
    if not place.is_dir():
        sources([path], DataSettings(cache=settings.cache))
        return [File(place, path, format_of(place, settings))]
    if settings.format == "folders" or (settings.format == "auto" and _holds_classes(place)):
        tops = [each for each in sorted(place.iterdir()) if each.is_dir() and part_of(each.name)]
        return [File(each, str(each), "folders") for each in tops or [place]]
    inside = [each for each in sorted(place.rglob("*")) if each.is_file() and not _hidden(each, place)]
    tables = [each for each in inside if _suffix(each) not in ("", "text")]  # beside them, texts are notes and licences
    others = [each for each in inside if _suffix(each) or LANGUAGE.search(each.name)]
    known = inside if settings.format != "auto" else tables or others
    if not known:
        suffixes = sorted({each.suffix for each in inside})
        raise DanluError("E1202", where=path, found=suffixes, possible=[*SUFFIXES, *MORE_SUFFIXES])
    return [File(each, str(each), format_of(each, settings)) for each in known]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _holds_classes(place: Path) -> bool:
    """Whether the files of a folder stand in folders named for classes, below folders for parts or not."""
    texts = [each.relative_to(place) for each in place.rglob("*.txt")]
    tables = [each for each in place.rglob("*") if each.is_file() and _suffix(each) not in ("", "text")]
    below = {path.parts[-2] for path in texts if len(path.parts) > 1 and not part_of(path.parts[-2])}
    return len(below) > 1 and not tables


def _suffix(path: Path) -> str:
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    return MORE_SUFFIXES.get(ending) or SUFFIXES.get(ending) or ""


def format_of(path: Path, settings: TaskData) -> str:
    """By the setting, the name, or the first bytes."""
    if settings.format != "auto":
        return settings.format
    known = _suffix(path)
    if known and known != "text":
        return known
    with opened(path) as (file, _):
        return _by_content(file) if not LANGUAGE.search(path.name) or known else "lines"


def _by_content(file: Stream) -> str:
    head = file.peek(1 << 14)[: 1 << 14]
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.decode("utf8", "replace").lstrip("\ufeff").lstrip()
    if text.startswith("["):
        return "json"
    if text.startswith("{"):
        return "jsonl"
    rows = text.splitlines()[:200]
    if any(not row.strip() for row in rows) and all(len(row.split()) in (0, 2, 3, 4, 10) for row in rows[:-1]):
        return "conll"
    return "tsv" if rows and "\t" in rows[0] else "csv"


def _paired(found: list[File]) -> list[File]:
    """Files of lines that differ in the ending that names a language become one."""
    stems: dict[str, list[File]] = {}
    for file in found:
        key = LANGUAGE.sub("", str(file.path)) if file.format == "lines" else str(file.path)
        stems.setdefault(key, []).append(file)
    joined = []
    for group in stems.values():
        first, *others = group
        if first.format == "lines" and not others:
            raise DanluError("E1905", where=first.name, found=1)
        joined.append(File(first.path, first.name, first.format, tuple(each.path for each in others)))
    return joined


def read(found: Sequence[File], settings: TaskData, ledger: Ledger) -> Table:
    """Every record of files; what is none goes into the ledger. E1210 where that are too many, E1901 of no format."""
    records: list[tuple[Record, str]] = []
    for each in found:
        before, rows = ledger.dropped.total(), len(records)
        records += [(record, each.name) for record in _records(each, settings, ledger)]
        check(ledger, settings, ledger.dropped.total() - before, len(records) - rows, each.name)
    return Table(tuple(records), frozenset(each.format for each in found))


def _records(each: File, settings: TaskData, ledger: Ledger) -> Iterator[Record]:
    if each.format in FORMATS:
        yield from FORMATS[each.format](each.path, each.name, settings.encoding, ledger, each.others)
        return
    if each.format not in READERS:
        raise DanluError("E1202", where=each.name, found=each.format, possible=[*READERS, *FORMATS])
    with opened(each.path) as (file, _):
        yield from READERS[each.format](file, each.name, settings.encoding, ledger)


def check(ledger: Ledger, settings: TaskData, broken: int, usable: int, name: str) -> None:
    """E1210 where a file, or all of them, have too many rows that cannot be used."""
    total = broken + usable
    if broken > max(FEW, settings.broken * total) or (broken and not usable):
        first = next(each for each in ledger.details[::-1] if each.file == name or not name)
        worst = [each for each in ledger.details if each.reason == first.reason]
        raise DanluError(
            "E1210", where=f"{worst[0].file}:{worst[0].line}", found=worst[0].reason, count=broken, rows=total,
            limit=f"{settings.broken:.1%}",
        )  # fmt: skip
