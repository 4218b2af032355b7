"""What to read: files, folders, standard input, built-in text."""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from danlu.data.builtin import PREFIX, builtin_file
from danlu.data.lines import opened
from danlu.data.settings import DataSettings as DataSettings
from danlu.data.settings import Format as Format
from danlu.data.settings import Paths as Paths
from danlu.errors import DanluError, nearest
from danlu.files import TEMPORARY, at_home

SUFFIXES: dict[str, Format] = {
    ".txt": "text", ".text": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
STDIN = "-"


class Source(NamedTuple):
    """One file; `name` is what people call it. sides: files whose lines are translations of its own."""

    path: Path
    name: str
    format: Format
    sides: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, *self.sides)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.files)


def sources(paths: Sequence[str], settings: DataSettings) -> list[Source]:
    """The files behind paths, in a fixed order. E1201 where there is none, E1202 where a folder holds none."""
    return [source for path in paths for source in _behind(path, settings)]


def files_of(settings: DataSettings) -> list[Source]:
    """What one source is read from: its paths, or the files of its languages side by side."""
    if settings.paths or not settings.parallel:
        return sources(settings.paths, settings)
    sides = [_there(_file(path, settings.cache_folder), path) for path in settings.parallel.values()]
    return [Source(sides[0], " + ".join(settings.parallel.values()), "text", tuple(sides[1:]))]


def all_files(settings: DataSettings) -> list[Source]:
    """The files of every source. E1005 where none is named."""
    return [source for part in settings.parts.values() for source in files_of(part)]


def resolved(settings: DataSettings) -> DataSettings:
    """The same settings with standard input and built-in text turned into files in the cache, to be read again."""

    def files(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(str(_file(path, settings.cache_folder)) for path in paths)

    def sides(parallel: Mapping[str, str], paths: Sequence[str]) -> dict[str, str]:
        return dict(parallel) if paths else dict(zip(parallel, files(list(parallel.values())), strict=True))

    several = {
        name: each.model_copy(update={"paths": files(each.paths), "parallel": sides(each.parallel, each.paths)})
        for name, each in settings.sources.items()
    }
    named = {name: files(getattr(settings, name)) for name in ("paths", "validation", "decontaminate")}
    parallel = sides(settings.parallel, settings.paths)
    return settings.model_copy(update=named | {"sources": several, "parallel": parallel})


def fingerprints(found: Sequence[Source]) -> list[tuple[str, str]]:
    """(name, SHA-256 of the content) of each source."""
    hashes = []
    for source in found:
        digests = []
        for path in source.files:
            with opened(path) as (_, raw):
                digests.append(hashlib.file_digest(raw, "sha256").hexdigest())
        hashes.append((source.name, "+".join(digests)))
    return hashes


def _there(place: Path, path: str) -> Path:
    """E1201 where there is nothing."""
    if not os.path.exists(place):  # unlike Path.exists, never raises: a name may be too long
        beside = [each.name for each in place.parent.glob("*")] if os.path.isdir(place.parent) else []
        raise DanluError("E1201", where=path, nearest=nearest(place.name, beside))
    return place


def _behind(path: str, settings: DataSettings) -> list[Source]:
    place = _file(path, settings.cache_folder)
    if not _there(place, path).is_dir():
        return [Source(place, path, _format(place) if settings.format == "auto" else settings.format)]
    files = sorted(_inside(place))
    if settings.format != "auto":
        found = [Source(each, str(each), settings.format) for each in files]
    else:
        found = [Source(each, str(each), _format(each)) for each in files if _format(each) != "auto"]
    if not found:
        raise DanluError("E1202", where=path, found=sorted({each.suffix for each in files}), possible=list(SUFFIXES))
    return found


def _format(path: Path) -> Format:
    """By the ending of the name; "auto" where that says nothing."""
    name = path.name.lower().removesuffix(".gz")
    return SUFFIXES.get(Path(name).suffix, "auto")


def _inside(place: Path) -> Iterator[Path]:
    """The files of a folder and its folders; those with a dot in front are not looked into."""
    for folder, inner, names in os.walk(place):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith(".") and Path(folder, name).is_file())


def _file(path: str, cache: Path) -> Path:
    if path == STDIN:
        return _spooled(sys.stdin.buffer, cache / "stdin")
    if path.startswith(PREFIX):
        return builtin_file(path.removeprefix(PREFIX), cache / "builtin")
    return at_home(path)


def _spooled(stream: BinaryIO, folder: Path) -> Path:
    """Standard input as a file named by its content: it can be read once, a file many times."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"input{TEMPORARY}{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            shutil.copyfileobj(stream, file)
        with temporary.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    return folder / name
