"""What to read: files, folders, standard input, built-in text."""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from danlu.data.builtin import PREFIX, builtin_file
from danlu.data.documents import Borders
from danlu.data.lines import opened
from danlu.errors import DanluError, nearest
from danlu.files import TEMPORARY
from danlu.settings import Settings

Format = Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"]


def _several(value: Any) -> Any:
    listed = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [str(each) if isinstance(each, (str, Path, int, float)) else each for each in listed]


Paths = Annotated[tuple[str, ...], BeforeValidator(_several)]

SUFFIXES: dict[str, Format] = {
    ".txt": "text", ".text": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
STDIN = "-"


class DataSettings(Settings):
    """What to read, and how. Everything but `paths` has a choice of its own that fits most files.

    `paths`: files, folders, `-` for standard input, `builtin:NAME`. `validation`: the same, kept apart from training;
    where there is none, `held_out` of the documents are (auto: 5 %, at most a million tokens). `text`: the column that
    holds the text, or a template such as `"{title}: {body}"`; `columns`: our name -> the file's. `documents`: where the
    documents of plain text end. `broken`: the share of broken rows that is passed over and noted. `length`: tokens in a
    row; the model's context where it is not given. `cache`: where tokenised text is kept.
    """

    paths: Paths = ()
    validation: Paths = ()
    held_out: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    format: Format = "auto"
    text: str = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    documents: Borders = "auto"
    encoding: str = "auto"
    broken: float = Field(0.01, ge=0, le=1)
    length: int | None = Field(None, ge=2)
    cache: Path = Path("~/.cache/danlu")

    @property
    def cache_folder(self) -> Path:
        return self.cache.expanduser()


class Source(NamedTuple):
    """One file; `name` is what people call it."""

    path: Path
    name: str
    format: Format


def sources(paths: Sequence[str], settings: DataSettings) -> list[Source]:
    """The files behind paths, in a fixed order. E1201 where there is none, E1202 where a folder holds none."""
    return [source for path in paths for source in _behind(path, settings)]


def resolved(settings: DataSettings) -> DataSettings:
    """The same settings with standard input and built-in text turned into files in the cache, to be read again."""

    def files(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(str(_file(path, settings.cache_folder)) for path in paths)

    return settings.model_copy(update={"paths": files(settings.paths), "validation": files(settings.validation)})


def fingerprints(found: Sequence[Source]) -> list[tuple[str, str]]:
    """(name, SHA-256 of the content) of each source."""
    hashes = []
    for source in found:
        with opened(source.path) as (_, raw):
            hashes.append((source.name, hashlib.file_digest(raw, "sha256").hexdigest()))
    return hashes


def _behind(path: str, settings: DataSettings) -> list[Source]:
    place = _file(path, settings.cache_folder)
    if not place.exists():
        beside = [each.name for each in place.parent.glob("*")] if place.parent.is_dir() else []
        raise DanluError("E1201", where=path, nearest=nearest(place.name, beside))
    if not place.is_dir():
        return [Source(place, path, _format(place) if settings.format == "auto" else settings.format)]
    files = [each for each in sorted(place.rglob("*")) if each.is_file() and not _hidden(each.relative_to(place))]
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


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _file(path: str, cache: Path) -> Path:
    if path == STDIN:
        return _spooled(sys.stdin.buffer, cache / "stdin")
    if path.startswith(PREFIX):
        return builtin_file(path.removeprefix(PREFIX), cache / "builtin")
    return Path(path).expanduser()


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
