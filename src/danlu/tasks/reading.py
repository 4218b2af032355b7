"""Files of labelled rows: which they are, and their records as they stand."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from danlu.data.ledger import Ledger
from danlu.data.lines import opened
from danlu.data.sources import SUFFIXES, DataSettings, sources
from danlu.data.tables import READERS, Record
from danlu.errors import DanluError
from danlu.tasks.settings import TaskData

Part = Literal["train", "validation", "test"]
PARTS: dict[str, Part] = {
    "train": "train", "training": "train", "trn": "train", "dev": "validation", "valid": "validation",
    "validation": "validation", "val": "validation", "test": "test", "tst": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class File:
    path: Path
    name: str
    format: str


@dataclass(frozen=True)
class Table:
    """The records of files of one part."""

    records: tuple[tuple[Record, str], ...]  # and the file of each

    @property
    def names(self) -> list[str]:
        """Columns, in order of appearance."""
        return list(dict.fromkeys(name for record, _ in self.records for name in record.values))


def part_of(name: str) -> Part | None:
    """What a file's name says it is for: `sst2.train.tsv`, `dev.csv`, `test_public.json`."""
    words = re.split(r"[^A-Za-z]+", Path(name).name.lower())
    return next((PARTS[word] for word in words if word in PARTS), None)


def files(settings: TaskData) -> dict[Part, list[File]]:
    """The files of each part. E1201, E1202 where there are none."""
    found: dict[Part, list[File]] = {"train": [], "validation": [], "test": []}
    for part, paths in (("train", settings.paths), ("validation", settings.validation), ("test", settings.test)):
        for each in _behind(paths, settings):
            named = part_of(each.name) if part == "train" else None
            place: Part = part if named is None else named  # type: ignore[assignment]
            found[place].append(each)
    if not found["train"]:  # a lone file called test is what is there to train on
        named_parts = [part for part in ("validation", "test") if found[part] and not getattr(settings, part)]
        if named_parts:
            first: Part = named_parts[0]  # type: ignore[assignment]
            found["train"], found[first] = found[first], []
    return found


def _behind(paths: Sequence[str], settings: TaskData) -> list[File]:
    plain = DataSettings(encoding=settings.encoding, cache=settings.cache)
    return [File(each.path, each.name, _format(each.path, settings)) for each in sources(paths, plain)]


def _format(path: Path, settings: TaskData) -> str:
    if settings.format != "auto":
        return settings.format
    return SUFFIXES.get(Path(path.name.lower().removesuffix(".gz")).suffix, "auto")


def read(found: Sequence[File], settings: TaskData, ledger: Ledger) -> Table:
    """Every record of files; what is none goes into the ledger."""
    records = []
    for each in found:
        with opened(each.path) as (file, _):
            reader = READERS.get(each.format)
            if reader is None:
                raise DanluError("E1202", where=each.name, found=each.format, possible=list(READERS))
            records += [(record, each.name) for record in reader(file, each.name, settings.encoding, ledger)]
    return Table(tuple(records))
