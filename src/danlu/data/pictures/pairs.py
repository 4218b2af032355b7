"""Pictures with their captions, wherever they lie. Nothing is decoded here; what has no partner goes into the ledger.

In a folder, a tar or a zip file, captions are looked for in this order: a table (captions.jsonl, captions.csv,
metadata.jsonl, ...) that names pictures; a text beside each picture (cat.jpg, cat.txt or cat.json, as WebDataset has
it); the name of the folder that a picture lies in (a class folder).
"""

import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet

from danlu.data.builtin_pictures import PREFIX, builtin_pictures
from danlu.data.ledger import Ledger
from danlu.data.lines import opened
from danlu.data.pictures.boxes import Box, FolderBox, TableBox, is_box, open_box
from danlu.data.pictures.questions import Question, asking
from danlu.data.pictures.settings import PictureSettings
from danlu.data.sources import SUFFIXES as TABLES
from danlu.data.tables import READERS, SAMPLE, Record, text_of
from danlu.errors import DanluError, nearest
from danlu.files import at_home
from danlu.vision.film import SUFFIXES as FILMS
from danlu.vision.opening import SUFFIXES
from danlu.voice import Voice

TABLE_NAMES = ("captions", "metadata", "labels", "annotations", "index")
IMAGE_COLUMNS = (
    "image", "file_name", "filename", "image_path", "picture", "path", "file", "img", "jpg", "png", "webp", "video",
    "film", "image_id", "图片", "文件名", "路径",
)  # fmt: skip
CAPTION_COLUMNS = ("caption", "captions", "text", "txt", "title", "alt", "description", "说明", "描述", "标题", "文本")
SEVERAL = "|"  # between columns that are captions of one picture alike
SIDECARS = (".txt", ".caption", ".text", ".json")
FEW = 10  # broken rows that any source may have


@dataclass(frozen=True)
class Pair:
    """One picture, or film, and what is said of it, or asked about it. place: a box, or a Parquet file; member: a name
    in it, or a row."""

    place: Box | Path
    member: str | int
    captions: tuple[str, ...]
    where: str  # for people
    line: int = 0
    questions: tuple[Question, ...] = ()

    def read(self) -> bytes:
        """E2204."""
        if isinstance(self.place, Path):
            raise DanluError("E2204", where=self.where, found="a row of a table")
        return self.place.read(str(self.member))

    @property
    def is_film(self) -> bool:
        return isinstance(self.member, str) and self.member.lower().endswith(FILMS)


class Said(NamedTuple):
    """What a row, or a small file, says of a picture."""

    captions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()

    def of(self, place: Box, member: str, where: str, line: int) -> Pair:
        return Pair(place, member, self.captions, where, line, self.questions)

    @property
    def empty(self) -> bool:
        return not (self.captions or self.questions)


class Found(NamedTuple):
    """A row before its picture has been looked for."""

    image: Any
    said: Said
    line: int


@dataclass
class Pairing:
    """One pass over sources; nothing large is read but tables. asks: whether questions are looked for, too."""

    settings: PictureSettings
    ledger: Ledger
    voice: Voice
    asks: bool = False
    said: set[str] = field(default_factory=set)

    def pairs(self, paths: Sequence[str]) -> list[Pair]:
        """E1201 where nothing is, E2207 where no picture has a caption, E1210 where too many rows are broken."""
        found: list[Pair] = []
        for path in paths:
            place = picture_file(path, self.settings.cache_folder)
            if not place.exists():
                beside = [each.name for each in place.parent.glob("*")] if place.parent.is_dir() else []
                raise DanluError("E1201", where=path, nearest=nearest(place.name, beside))
            before = self.ledger.read or 0
            here = list(self._behind(place, path))
            self._check(path, (self.ledger.read or 0) - before, len(here))
            found += here
        return found

    def _behind(self, place: Path, name: str) -> Iterator[Pair]:
        kind = TABLES.get(PurePosixPath(place.name.lower().removesuffix(".gz")).suffix) if place.is_file() else None
        if kind == "parquet":
            return self._parquet(place, name)
        if kind in READERS:
            return self._table(TableBox(place.parent), place.name, name)
        if not is_box(place):
            raise DanluError("E2208", where=name, found=place.suffix or place.name)
        return self._box(open_box(place), name)

    def _box(self, box: Box, name: str) -> Iterator[Pair]:
        if box.cut:
            self.ledger.count()
            self.ledger.drop("cut off", name, len(box.members))
            self.voice.say(f"{name} breaks off: {box.cut}", f"{name} 不完整：{box.cut}")
        tables = [each for each in box.members if _is_table(each)]
        if tables:
            for each in tables:
                yield from self._table(box, each, f"{name}/{each}")
            return
        pictures = [each for each in box.members if _is_picture(each)]
        beside = _sidecars(box)
        if beside:
            yield from self._beside(box, name, pictures, beside)
            return
        for number, each in enumerate(pictures, 1):
            self.ledger.count()
            folder = PurePosixPath(each).parent.name
            if folder:
                said = self.settings.caption.format(name=folder.replace("_", " ").replace("-", " "))
                yield Pair(box, each, (said,), f"{name}/{each}", number)
            else:
                self.ledger.drop("no caption", f"{name}/{each}", number)

    def _beside(self, box: Box, name: str, pictures: Sequence[str], beside: Mapping[str, str]) -> Iterator[Pair]:
        keys = {_key(each) for each in pictures}
        for number, each in enumerate(pictures, 1):
            self.ledger.count()
            told = beside.get(_key(each))
            said = self._told(box, told) if told else Said()
            if not said.empty:
                yield said.of(box, each, f"{name}/{each}", number)
            else:
                self.ledger.drop("no caption", f"{name}/{each}", number)
        for key, told in beside.items():
            if key not in keys:
                self.ledger.count()
                self.ledger.drop("no picture", f"{name}/{told}", 0)

    def _told(self, box: Box, name: str) -> Said:
        """What a small file beside a picture says."""
        raw = box.read(name)
        try:
            text = raw.decode("utf8")
        except UnicodeDecodeError:
            return Said()
        if not name.lower().endswith(".json"):
            return Said(_captions(text))
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return Said()
        values = values if isinstance(values, dict) else {}
        ask = asking(self.settings, list(values), name) if self.asks else None
        if SEVERAL in self.settings.text:
            said: Any = [values.get(each.strip()) for each in self.settings.text.split(SEVERAL)]
        else:
            known = CAPTION_COLUMNS if self.settings.text == "auto" else (self.settings.text,)
            said = values.get(next((each for each in known if each in values), ""))
        return Said(_captions(said), ask(values) if ask else ())

    def _table(self, box: Box, member: str, name: str) -> Iterator[Pair]:
        folder = PurePosixPath(member).parent
        named: set[str] = set()
        stems: dict[str, str] = {}
        for row in self._rows(box, member, name):
            path = (folder / str(row.image)).as_posix()
            at = path if path in box.members else str(row.image).lstrip("./")
            if at not in box.members and not PurePosixPath(at).suffix:
                stems = stems or {_key(each): each for each in box.members if _is_picture(each)}
                at = stems.get(path, stems.get(at, at))
            named.add(at)
            if row.said.empty:
                self.ledger.drop("no caption", name, row.line)
            elif at not in box.members:
                self.ledger.drop("no picture", name, row.line)
            else:
                yield row.said.of(box, at, f"{name}:{row.line}", row.line)
        if _is_table(member):
            below = "" if folder == PurePosixPath(".") else f"{folder}/"
            for each in box.members:
                if each.startswith(below) and _is_picture(each) and each not in named:
                    self.ledger.count()
                    self.ledger.drop("no caption", f"{box.where}/{each}", 0)

    def _rows(self, box: Box, member: str, name: str) -> Iterator[Found]:
        kind = TABLES[PurePosixPath(member.lower().removesuffix(".gz")).suffix]
        if isinstance(box, FolderBox | TableBox):
            with opened(box.where / member) as (file, _):
                yield from self._found(READERS[kind](file, name, self.settings.encoding, self.ledger), name)
            return
        file = io.BufferedReader(io.BytesIO(box.read(member)))
        yield from self._found(READERS[kind](file, name, self.settings.encoding, self.ledger), name)

    def _found(self, records: Iterator[Record], name: str) -> Iterator[Found]:
        sample = list(itertools.islice(records, SAMPLE))
        if not sample:
            return
        names = list(dict.fromkeys(each for record in sample for each in record.values))
        image = _column(self.settings.image, IMAGE_COLUMNS, names, name, "image")
        take = self._taking(sample, [each for each in names if each != image], image, name)
        for record in itertools.chain(sample, records):
            value = record.values.get(image)
            if value is None:
                self.ledger.drop("no picture", name, record.line)
            else:
                yield Found(value, take(record), record.line)

    def _taking(
        self, sample: Sequence[Record], names: Sequence[str], image: str, where: str
    ) -> Callable[[Record], Said]:
        """How to take what a row says: questions with answers, where there are such columns, or a caption."""
        ask = asking(self.settings, names, where) if self.asks else None
        if ask:
            said = next((each for each in CAPTION_COLUMNS if each in names), "")
            more = (f", captions: {said}", f"，说明列：{said}") if said else ("", "")
            self._say(f"pictures: {image}, asked: {ask.name}{more[0]}", f"图片列：{image}，问答列：{ask.name}{more[1]}")
            return lambda record: Said(_captions(record.values.get(said)), ask(record.values))
        column, take = self._caption(sample, names, where)
        self._say(f"pictures: {image}, captions: {column}", f"图片列：{image}，说明列：{column}")
        return lambda record: Said(_captions(take(record)))

    def _caption(self, sample: Sequence[Record], names: Sequence[str], where: str) -> Any:
        """(which column, how to take it)."""
        if SEVERAL in self.settings.text and "{" not in self.settings.text:
            several = [_column(each.strip(), (), names, where, "text") for each in self.settings.text.split(SEVERAL)]
            return self.settings.text, lambda record: [record.values.get(each) for each in several]
        known = next((each for each in CAPTION_COLUMNS if each in names), None)
        if self.settings.text == "auto" and known:
            return known, lambda record: record.values.get(known)
        only = [Record({each: record.values.get(each) for each in names}, record.line) for record in sample]
        return text_of(self.settings.text, {}, only, where)

    def _parquet(self, place: Path, name: str) -> Iterator[Pair]:
        """Rows with pictures as bytes, or as {bytes, path} as `datasets` writes them."""
        try:
            names = pyarrow.parquet.ParquetFile(place).schema_arrow.names
            image = _column(self.settings.image, IMAGE_COLUMNS, names, name, "image")
            wanted = [each for each in names if each != image]
            table = pyarrow.parquet.read_table(place, columns=wanted)
            records = [Record(values, line) for line, values in enumerate(table.to_pylist(), 1)]
        except (pyarrow.ArrowException, OSError) as error:
            raise DanluError("E1208", where=name, found=str(error).splitlines()[0]) from error
        if not records:
            return
        take = self._taking(records[:SAMPLE], wanted, image, name)
        box = ParquetBox(place, image, len(records))
        for record in records:
            self.ledger.count()
            said = take(record)
            if not said.empty:
                yield said.of(box, str(record.line - 1), f"{name}:{record.line}", record.line)
            else:
                self.ledger.drop("no caption", name, record.line)

    def _say(self, en: str, zh: str) -> None:
        if en not in self.said:
            self.said.add(en)
            self.voice.say(en, zh)

    def _check(self, path: str, rows: int, usable: int) -> None:
        broken = rows - usable
        if not usable:
            first = self.ledger.details[-1].reason if broken and self.ledger.details else None
            raise DanluError("E2207", where=path, found=first, count=broken)
        if broken > max(FEW, self.settings.broken * rows):
            details = self.ledger.details[-1]
            raise DanluError(
                "E1210", where=f"{details.file}:{details.line}", found=details.reason, count=broken, rows=rows,
                limit=f"{self.settings.broken:.1%}",
            )  # fmt: skip


class ParquetBox:
    """Pictures in a column; read a group of rows at a time, the last group kept."""

    cut = ""

    def __init__(self, where: Path, column: str, count: int):
        self.where, self.column = where, column
        self.members = {str(number): 0 for number in range(count)}
        self.kept: tuple[int, list[Any]] = (-1, [])
        metadata = pyarrow.parquet.ParquetFile(where).metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.starts = [0, *itertools.accumulate(sizes)]

    def read(self, name: str) -> bytes:
        row = int(name)
        group = next(at for at in range(len(self.starts) - 1) if row < self.starts[at + 1])
        kept = self.kept  # taken once: other threads may put another group there
        if kept[0] != group:
            try:
                table = pyarrow.parquet.ParquetFile(self.where).read_row_group(group, columns=[self.column])
            except (pyarrow.ArrowException, OSError) as error:
                raise DanluError("E2204", where=f"{self.where}:{row + 1}", found=str(error).splitlines()[0]) from error
            self.kept = kept = (group, table.column(0).to_pylist())
        value = kept[1][row - self.starts[group]]
        raw = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(raw, bytes):
            raise DanluError("E2204", where=f"{self.where}:{row + 1}", found=type(raw).__name__)
        return raw


def picture_file(path: str, cache: Path) -> Path:
    if path.startswith(PREFIX):
        return builtin_pictures(path.removeprefix(PREFIX), cache / "builtin")
    return at_home(path)


def _captions(value: Any) -> tuple[str, ...]:
    """One caption, or several of a list; white space is one space."""
    listed = value if isinstance(value, (list, tuple)) else [value]
    texts = (" ".join(each.split()) for each in listed if isinstance(each, str))
    return tuple(text for text in texts if text)


def _column(wanted: str, known: Sequence[str], names: Sequence[str], where: str, what: str) -> str:
    if wanted != "auto":
        if wanted not in names:
            raise DanluError("E1203", where=where, name=wanted, possible=names, nearest=nearest(wanted, names))
        return wanted
    found = next((name for name in known if name in names), None)
    if found is None:
        raise DanluError("E2209", where=where, found=list(names), possible=known[:4], name=what)
    return found


def _is_picture(name: str) -> bool:
    return name.lower().endswith((*SUFFIXES, *FILMS))


def _is_table(name: str) -> bool:
    path = PurePosixPath(name.lower().removesuffix(".gz"))
    return path.stem in TABLE_NAMES and TABLES.get(path.suffix) in ("jsonl", "csv", "tsv")


def _key(name: str) -> str:
    """What files of one sample share: the path up to the first dot of the last part."""
    path = PurePosixPath(name)
    return (path.parent / path.name.partition(".")[0]).as_posix()


def _sidecars(box: Box) -> dict[str, str]:
    """key -> the small file that holds a caption; texts come before JSON."""
    found: dict[str, str] = {}
    for suffix in reversed(SIDECARS):
        found |= {_key(name): name for name in box.members if name.lower().endswith(suffix)}
    return found
