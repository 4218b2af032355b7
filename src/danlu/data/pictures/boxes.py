"""Where pictures lie: folders, tars, zip files; all of them hold named bytes that can be asked for one at a time."""

import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import NamedTuple, Protocol

from danlu.errors import DanluError

MOST_BYTES = 1 << 28  # of one member; a larger one is no picture
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class Box(Protocol):
    """Members by name, in a fixed order; `cut` says why the rest is missing, where it is."""

    @property
    def where(self) -> Path: ...

    @property
    def members(self) -> Mapping[str, int]: ...

    @property
    def cut(self) -> str: ...

    def read(self, name: str) -> bytes:
        """E2204 where a member cannot be read, or is larger than any picture."""
        ...


class FolderBox:
    """Everything below a folder that is not hidden."""

    cut = ""

    def __init__(self, where: Path):
        self.where = where
        found = (path for path in sorted(where.rglob("*")) if path.is_file())
        names = ((path.relative_to(where).as_posix(), path.stat().st_size) for path in found)
        self.members = {name: size for name, size in names if not _hidden(name)}

    def read(self, name: str) -> bytes:
        try:
            _check(self, name)
            return (self.where / name).read_bytes()
        except OSError as error:
            raise DanluError("E2204", where=self.where / name, found=error.strerror) from error


class _Piece(NamedTuple):
    start: int
    size: int


class TarBox:
    """A tar without compression: each member is a stretch of the file. What a broken tar still holds can be read."""

    def __init__(self, where: Path):
        self.where, self.cut = where, ""
        self.pieces: dict[str, _Piece] = {}
        size = where.stat().st_size
        with where.open("rb") as file:
            if file.read(4).startswith(COMPRESSED):
                raise DanluError("E2205", where=where)
        try:
            with tarfile.open(where, "r:") as tar:
                for member in tar:
                    if member.offset_data + member.size > size:
                        self.cut = f"{member.name}: {size - member.offset_data:,} / {member.size:,} B"
                        break
                    if member.isfile() and not _hidden(member.name):
                        self.pieces[member.name] = _Piece(member.offset_data, member.size)
        except (tarfile.TarError, OSError, EOFError) as error:
            if not self.pieces:
                raise DanluError("E2206", where=where, found=str(error)) from error
            self.cut = str(error)
        if not self.cut and not _ends_well(where, size):
            self.cut = "no end mark"
        self.members = {name: piece.size for name, piece in self.pieces.items()}

    def read(self, name: str) -> bytes:
        _check(self, name)
        piece = self.pieces[name]
        with self.where.open("rb") as file:
            file.seek(piece.start)
            raw = file.read(piece.size)
        if len(raw) != piece.size:
            raise DanluError("E2204", where=f"{self.where}:{name}", found=f"{len(raw)} < {piece.size} B")
        return raw


class ZipBox:
    """A zip file; every member is checked against its sum when it is read. Its list of members is read once."""

    cut = ""

    def __init__(self, where: Path):
        self.where, self.turn = where, Lock()
        try:
            self.archive = zipfile.ZipFile(where)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise DanluError("E2206", where=where, found=str(error)) from error
        found = {info.filename: info.file_size for info in self.archive.infolist() if not info.is_dir()}
        self.members = {name: size for name, size in sorted(found.items()) if not _hidden(name)}

    def read(self, name: str) -> bytes:
        _check(self, name)
        try:
            with self.turn, self.archive.open(name) as member:
                return member.read(MOST_BYTES + 1)[:MOST_BYTES]
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
            raise DanluError("E2204", where=f"{self.where}:{name}", found=str(error)) from error


class TableBox:
    """What a table's rows may name: files beside it, and what lies in archives beside it."""

    cut = ""

    def __init__(self, where: Path):
        archives = [path for path in sorted(where.iterdir()) if path.is_file() and is_box(path)]
        self.where = where
        self.boxes: list[Box] = [FolderBox(where), *map(open_box, archives)]
        self.owner = {name: box for box in reversed(self.boxes) for name in box.members}
        self.members = {name: box.members[name] for name, box in self.owner.items()}

    def read(self, name: str) -> bytes:
        _check(self, name)
        return self.owner[name].read(name)


def open_box(where: Path) -> Box:
    """E2205, E2206 where it cannot be read."""
    if where.is_dir():
        return FolderBox(where)
    return ZipBox(where) if zipfile.is_zipfile(where) or where.suffix.lower() == ".zip" else TarBox(where)


def is_box(where: Path) -> bool:
    name = where.name.lower()
    return where.is_dir() or name.endswith((".tar", ".zip", ".tar.gz", ".tgz"))


def _check(box: Box, name: str) -> None:
    if name not in box.members:
        raise DanluError("E2204", where=f"{box.where}:{name}", found="nothing")
    if box.members[name] > MOST_BYTES:
        raise DanluError("E2204", where=f"{box.where}:{name}", found=f"{box.members[name]:,} B", possible=MOST_BYTES)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _ends_well(where: Path, size: int) -> bool:
    """Whether a block of zeros, a tar's end mark, stands somewhere in the last 10 KB."""
    with where.open("rb") as file:
        file.seek(max(0, size - 10_240))
        return bytes(512) in file.read()
