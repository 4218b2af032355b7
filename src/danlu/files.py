"""Files that are whole or not there: write to a temporary name, fsync, rename, fsync the folder.

`reached(point)` marks every instant at which a crash would matter. It does nothing; the drills in tests/drills replace
it to kill the process, or to raise a disk error, at exactly that point.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY, TRASH, ASIDE = ".tmp-", ".trash-", ".old-"


def reached(point: str) -> None:
    """A place where a drill may cut the power."""


def at_home(path: str | os.PathLike[str]) -> Path:
    """A path in which `~` or `~name` stands for a home; where nobody has that name, the path as it is."""
    return Path(os.path.expanduser(path))


def nearest_there(path: Path) -> Path:
    """The path, or the nearest above it that exists; a name that no file can have does not."""
    while not os.path.exists(path) and path != path.parent:
        path = path.parent
    return path


def sync_folder(folder: Path) -> None:
    """Make renames and deletions in a folder survive a power cut."""
    reached("before fsync folder")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    reached("after fsync folder")


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write one file in place, flushed to the disk; for use inside a folder that is not visible yet."""
    reached(f"before write {path.name}")
    with path.open("wb") as file:
        fill(file)
        reached(f"before fsync {path.name}")
        file.flush()
        os.fsync(file.fileno())
    reached(f"after fsync {path.name}")


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    raw = content.encode("utf8") if isinstance(content, str) else content
    temporary = path.with_name(f"{path.name}{TEMPORARY}{os.getpid()}")
    try:
        write_file(temporary, lambda file: file.write(raw))
        reached(f"before rename {path.name}")
        os.replace(temporary, path)
        reached(f"after rename {path.name}")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def replace_json(path: Path, data: Any) -> None:
    replace_file(path, json.dumps(data, ensure_ascii=False, indent=2) + "\n")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that gets its name only when it is whole.

    An older one of that name is moved aside first, and back where the new one does not get it; after a kill in between,
    `sweep` moves it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}{TEMPORARY}{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        old = _moved_aside(path)
        try:
            reached(f"before rename {path.name}")
            os.rename(temporary, path)
        except BaseException:
            if old:
                os.rename(old, path)
            raise
        reached(f"after rename {path.name}")
        sync_folder(path.parent)
        if old:
            remove_folder(old)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _moved_aside(path: Path) -> Path | None:
    """Where an older folder of that name now is."""
    if not path.exists():
        return None
    old = path.with_name(f"{path.name}{ASIDE}{os.getpid()}")
    reached(f"before move aside {path.name}")
    os.rename(path, old)
    return old


def remove_folder(path: Path) -> None:
    """Delete a folder so that a kill in the middle never leaves a plausible half."""
    trash = path
    if TRASH not in path.name:
        trash = path.with_name(f"{path.name}{TRASH}{os.getpid()}")
        reached(f"before delete {path.name}")
        os.rename(path, trash)
        sync_folder(path.parent)
    reached(f"in delete {path.name}")
    shutil.rmtree(trash, ignore_errors=True)
    reached(f"after delete {path.name}")


def sweep(folder: Path) -> list[str]:
    """Move back what earlier crashes left aside, remove what they left half-made or half-deleted; returns the names."""
    for old in folder.glob(f"*{ASIDE}*"):
        path = old.with_name(old.name.partition(ASIDE)[0])
        remove_folder(old) if path.exists() else os.rename(old, path)
    left = [path for path in folder.glob("*") if TEMPORARY in path.name or TRASH in path.name]
    for path in left:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return [path.name for path in left]


@contextmanager
def held(path: Path, shared: bool = False, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """One process at a time holds a lock file, or several that share it; the system takes it back from a dead one.

    waiting: is called where somebody else holds it.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, kind)
        yield


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
