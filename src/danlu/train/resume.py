"""Training checkpoints: folders that are whole or not there.

A checkpoint `step-00001200` holds model.safetensors, optimizer.safetensors, sometimes best.safetensors, state.json and,
written last, manifest.json with the size and SHA-256 of each of them and of itself. It is filled under a temporary
name, flushed to the disk, renamed, and the parent flushed. It counts only where everything matches its manifest; the
newest that does is where training goes on.

Of several processes the first writes all of it; where each holds a part of every tensor, each writes its part, and the
manifest names them (see `parts`). Any number of processes can go on from either.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from danlu import files
from danlu.checkpoint.headers import write_tensors
from danlu.errors import DanluError
from danlu.train.distributed import World
from danlu.train.parts import Parts, Stored, part_name, part_of

SCHEMA, DIVIDED = 1, 2  # of a checkpoint in one piece, and in parts
MANIFEST, STATE = "manifest.json", "state.json"
NAME = "step-{:08d}"
BLANK = "0" * 64  # stands for the manifest's own hash while that is taken
MARGIN = 1 << 20  # bytes beside its tensors that a checkpoint may take

State = dict[str, Any]
Rows = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk."""

    folder: Path
    state: State

    @property
    def step(self) -> int:
        return step_of(self.folder)

    def tensors(self, name: str) -> Mapping[str, Tensor]:
        """The tensors of a group (model, optimizer, best), whole; none where there is no such group."""
        parts = _read_manifest(self.folder).get("parts", {}).get(name, {"files": [f"{name}.safetensors"], "rows": {}})
        return Stored(self.folder, parts) if (self.folder / parts["files"][0]).exists() else {}


Looked = tuple[Checkpoint | None, list[DanluError]]


class Checkpoints:
    """The checkpoints of one run: saving, finding, keeping few."""

    def __init__(self, folder: Path, *, keep: int, every: int, back: int, world: World | None = None):
        """keep: how many of the newest stay. every: the regular distance in steps. back: see `anchors`."""
        self.folder, self.keep, self.every, self.back = folder, keep, every, back
        self.world = world or World()
        self.verified: set[Path] = set()

    def save(
        self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: State, rows: Rows | None = None
    ) -> Path:
        """Write a checkpoint and read it again. OSError where the disk does not take it; the others still stand.

        rows: of each group, the tensors of which this process holds only some rows, and how many they have in all.
        """
        rows, world = rows or {}, self.world
        path = self.folder / NAME.format(step)
        parts = world.size if any(rows.values()) else 1

        def write(folder: Path) -> dict[str, Any]:
            mine = {
                part_name(group, world.rank, parts): part_of(each, rows.get(group, {}), world.leads)
                for group, each in tensors.items()
                if parts > 1 or world.leads
            }
            return {name: _write(folder / name, _filling(each)) for name, each in mine.items()}

        with ExitStack() as stack:
            folder = Path(world.led(lambda: str(self._begin(path, tensors, parts, stack))))
            listed = {name: facts for written in world.each(lambda: write(folder)) for name, facts in written.items()}
            divided = {
                group: Parts(
                    files=[part_name(group, rank, parts) for rank in range(parts)], rows=dict(rows.get(group, {}))
                )
                for group in (tensors if parts > 1 else ())
            }
            world.led(lambda: self._close(path, folder, state, listed, divided, stack))
        return path

    def _begin(self, path: Path, tensors: Mapping[str, Mapping[str, Tensor]], parts: int, stack: ExitStack) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.folder).free < parts * bytes_needed(tensors):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        self.verified.discard(path)
        return stack.enter_context(files.new_folder(path))

    def _close(
        self, path: Path, folder: Path, state: State, listed: dict[str, Any], divided: dict[str, Parts],
        stack: ExitStack,
    ) -> None:  # fmt: skip
        """Write down what the folder holds, give it its name, and read it."""
        raw = json.dumps(state, ensure_ascii=False).encode("utf8")
        listed = listed | {STATE: _write(folder / STATE, lambda file: file.write(raw))}
        content = {"schema": DIVIDED if divided else SCHEMA, "step": step_of(path), "files": listed}
        manifest = _manifest(content | ({"parts": divided} if divided else {}))
        files.write_file(folder / MANIFEST, lambda file: file.write(manifest))
        stack.close()
        if not self._is_whole(path):
            raise OSError(errno.EIO, "not read back as written", str(path))

    def newest(self) -> Looked:
        """The newest valid checkpoint, and why newer ones were passed over."""
        return self._found(lambda: self._first_whole(self.paths()))

    def earlier(self, step: int) -> Checkpoint | None:
        """The newest regular checkpoint at least `back` before a step; where none is so old, the oldest."""
        regular = [path for path in self.paths() if step_of(path) % self.every == 0]
        old = [path for path in regular if step_of(path) <= step - self.back]
        young = [path for path in regular if step_of(path) > step - self.back]
        return self._found(lambda: self._first_whole([*old, *reversed(young)]))[0]

    def paths(self) -> list[Path]:
        """Every checkpoint folder, newest first, valid or not."""
        found = [path for path in self.folder.glob("step-*") if step_of(path) >= 0]
        return sorted(found, key=step_of, reverse=True)

    def discard_after(self, step: int) -> None:
        """Remove what lies after a step that training went back to."""
        self.world.led(lambda: self._discard_after(step))

    def _discard_after(self, step: int) -> None:
        for path in self.paths():
            if step_of(path) > step:
                self._remove(path)

    def prune(self) -> None:
        """Remove what is no longer needed, once `keep` checkpoints have been read again and found whole."""
        self.world.led(self._prune)

    def _prune(self) -> None:
        whole = [path for path in self.paths() if self._is_whole(path)]
        if len(whole) < self.keep:
            return
        kept = anchors(map(step_of, whole), self.every, self.keep, self.back) | set(map(step_of, whole[: self.keep]))
        for path in self.paths():
            if step_of(path) not in kept:
                self._remove(path)

    def _found(self, look: Callable[[], Looked]) -> Looked:
        """What the leader finds, for all; only it knows of damaged ones."""
        looked: list[Looked] = []

        def led() -> str | None:
            looked.append(look())
            return str(looked[0][0].folder) if looked[0][0] else None

        folder = self.world.led(led)
        if looked:
            return looked[0]
        return (Checkpoint(Path(folder), _state(Path(folder))) if folder else None), []

    def _first_whole(self, paths: list[Path]) -> Looked:
        damaged: list[DanluError] = []
        for path in paths:
            try:
                state = verify(path)
            except DanluError as error:
                damaged.append(error)
                continue
            self.verified.add(path)
            return Checkpoint(path, state), damaged
        return None, damaged

    def _is_whole(self, path: Path) -> bool:
        if path not in self.verified:
            try:
                verify(path)
            except DanluError:
                return False
            self.verified.add(path)
        return True

    def _remove(self, path: Path) -> None:
        self.verified.discard(path)
        files.remove_folder(path)


def anchors(steps: Iterable[int], every: int, keep: int, back: int) -> set[int]:
    """Which of the regular checkpoints stay, so that there is always one at least `back` steps old.

    The `keep` newest, the newest that is `back` steps older than the newest, and the one that will be that next. Other
    checkpoints (of an interruption) do not count: a resumed run goes back to where an uninterrupted one would.
    """
    regular = sorted((step for step in steps if step % every == 0), reverse=True)
    if not regular:
        return set()
    old = [step for step in regular if step <= regular[0] - back]
    young = [step for step in regular if step > regular[0] - back]
    return {*regular[:keep], *old[:1], *young[-1:]}


def step_of(path: Path) -> int:
    """The step a folder's name speaks of; -1 where it is not a checkpoint's name."""
    digits = path.name.removeprefix("step-")
    return int(digits) if path.name.startswith("step-") and digits.isascii() and digits.isdigit() else -1


def verify(folder: Path) -> State:
    """The state of a checkpoint in which every byte is as it was written. E1601 to E1606 say what is not."""
    manifest = _read_manifest(folder)
    listed: dict[str, dict[str, Any]] = manifest["files"]
    for name, facts in listed.items():
        path = folder / name
        if not path.is_file():
            raise DanluError("E1603", where=folder, name=name)
        if path.stat().st_size != facts["bytes"]:
            raise DanluError("E1604", where=path, found=path.stat().st_size, possible=facts["bytes"])
        if files.file_hash(path) != facts["sha256"]:
            raise DanluError("E1605", where=path)
    if strangers := {path.name for path in folder.iterdir()} - {*listed, MANIFEST}:
        raise DanluError("E1606", where=folder, found=sorted(strangers))
    return _state(folder)


def _state(folder: Path) -> State:
    state: State = json.loads((folder / STATE).read_bytes())
    return state


def bytes_needed(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """What a checkpoint of these tensors takes on disk, with a margin for its texts."""
    return sum(tensor.nbytes for group in tensors.values() for tensor in group.values()) + MARGIN


class _Hashing:
    """A file that takes the SHA-256 of what goes through it."""

    def __init__(self, file: BinaryIO):
        self.file, self.hash, self.bytes = file, hashlib.sha256(), 0

    def write(self, raw: Any) -> None:
        self.file.write(raw)
        self.hash.update(raw)
        self.bytes += memoryview(raw).nbytes


def _filling(tensors: Mapping[str, Tensor]) -> Any:
    return lambda file: write_tensors(file, tensors)


def _write(path: Path, fill: Any) -> dict[str, Any]:
    """Write one file of a checkpoint; what its manifest says about it."""
    facts: dict[str, Any] = {}

    def hashed(file: BinaryIO) -> None:
        stream = _Hashing(file)
        fill(stream)
        facts.update(bytes=stream.bytes, sha256=stream.hash.hexdigest())

    files.write_file(path, hashed)
    return facts


def _manifest(content: dict[str, Any]) -> bytes:
    """The manifest's bytes, which hold the hash of themselves with that hash left blank."""
    blank = json.dumps({"sha256": BLANK, **content}, indent=2).encode()
    return blank.replace(BLANK.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise DanluError("E1601", where=folder)
    try:
        manifest = json.loads(path.read_bytes())
        own = manifest.pop("sha256")
        if path.read_bytes() != _manifest(manifest) or manifest["step"] != step_of(folder):
            raise ValueError(own)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DanluError("E1602", where=path) from error
    if manifest["schema"] not in (SCHEMA, DIVIDED):
        raise DanluError("E1608", where=path, found=manifest["schema"], possible=(SCHEMA, DIVIDED))
    return dict(manifest)
