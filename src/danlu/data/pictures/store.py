"""Every picture decoded and resized once, kept as bytes in one file that is mapped into memory.

What comes out of a picture depends on its file and on the geometry alone, so that the next run finds it. Pictures that
cannot be read go into the ledger; memory holds a few at a time.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from danlu.data.ledger import Ledger
from danlu.data.pictures.pairs import Pair
from danlu.errors import DanluError
from danlu.files import replace_json, sync_folder
from danlu.vision.film import open_film
from danlu.vision.opening import open_picture
from danlu.vision.processor import Processor
from danlu.voice import Voice

VERSION = 1
WINDOW = 256  # pictures being decoded at once, at most
REASONS = {"E2201": "not a picture", "E2202": "too many pixels", "E2203": "damaged picture", "E2204": "unreadable",
           "E2211": "one frame"}  # fmt: skip
Pixels = NDArray[np.uint8]


class Geometry(NamedTuple):
    """What becomes of a picture's shape. frames: of a film; 0 for pictures."""

    processor: Processor
    frames: int = 0
    most: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        size = self.processor.shape
        if size is None:
            raise ValueError("a processor without a fixed size")
        return (*((self.frames,) if self.frames else ()), *size, 3)

    def pixels(self, pair: Pair) -> Pixels:
        """E2201 to E2204, E2211, E2212."""
        raw = pair.read()
        if not self.frames:
            return self.processor.pixels(open_picture(raw, pair.where, self.most))
        if pair.is_film:
            suffix = PurePosixPath(str(pair.member)).suffix
            frames = open_film(raw, self.frames, pair.where, suffix, self.most)
        else:
            frames = [open_picture(raw, pair.where, self.most)]
        frames = [frames[number * len(frames) // self.frames] for number in range(self.frames)]
        return np.stack([self.processor.pixels(frame) for frame in frames])


@dataclass(frozen=True)
class Store:
    """pixels (N, [frames,] height, width, 3), of the pairs that could be read."""

    pixels: Pixels
    pairs: Sequence[Pair]


def fill(pairs: Sequence[Pair], geometry: Geometry, cache: Path, ledger: Ledger, voice: Voice) -> Store:
    """The pixels of every pair, from the cache where it has them. E1701 where the disk has no room, E2207 where no
    picture can be read."""
    place = cache / "pictures" / _name(pairs, geometry)
    size = int(np.prod(geometry.shape))
    if not (place / "state.json").is_file():
        _decode(pairs, geometry, place, size, voice)
    state = json.loads((place / "state.json").read_text(encoding="utf8"))
    bad = {int(number): reason for number, reason in state["bad"].items()}
    for number, reason in bad.items():
        ledger.drop(reason, pairs[number].where, pairs[number].line)
    kept = [pair for number, pair in enumerate(pairs) if number not in bad]
    if not kept:
        raise DanluError("E2207", where=pairs[0].where, found=next(iter(bad.values())), count=len(bad))
    pixels = np.memmap(place / "pixels", np.uint8, "r", shape=(len(kept), *geometry.shape))
    return Store(pixels, kept)


def _decode(pairs: Sequence[Pair], geometry: Geometry, place: Path, size: int, voice: Voice) -> None:
    place.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place).free
    if size * len(pairs) > free:
        raise DanluError("E1701", where=place, needed=f"{size * len(pairs):,} B", found=f"{free:,} B")
    bad: dict[int, str] = {}
    made = place / f"pixels.{os.getpid()}"
    try:
        with (
            made.open("wb") as file,
            voice.progress("decoding pictures", "解码图片", len(pairs)) as bar,
            ThreadPoolExecutor(os.cpu_count() or 1) as workers,
        ):
            for number, found in enumerate(_ahead(pairs, geometry, workers)):
                if isinstance(found, str):
                    bad[number] = found
                else:
                    file.write(found.tobytes())
                bar.advance(1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, place / "pixels")
        sync_folder(place)
        replace_json(place / "state.json", {"shape": geometry.shape, "bad": bad})  # last: it says the rest is whole
    finally:
        made.unlink(missing_ok=True)


def _ahead(pairs: Sequence[Pair], geometry: Geometry, workers: ThreadPoolExecutor) -> Iterator[Pixels | str]:
    """The pixels of each, or why there are none, in order; never more than a window of them held."""

    def work(pair: Pair) -> Pixels | str:
        try:
            return geometry.pixels(pair)
        except DanluError as error:
            if error.code not in REASONS:
                raise
            return REASONS[error.code]
        except Image.DecompressionBombError:
            return REASONS["E2202"]

    for start in range(0, len(pairs), WINDOW):
        yield from workers.map(work, pairs[start : start + WINDOW])


def _name(pairs: Sequence[Pair], geometry: Geometry) -> str:
    """By the files (name, size, time of change), which members of them, and the geometry."""
    digest = hashlib.sha256(f"{VERSION} {geometry.processor.model_dump_json()} {geometry[1:]}".encode())
    seen: set[Path] = set()
    for pair in pairs:
        where = pair.place if isinstance(pair.place, Path) else pair.place.where
        file = where / str(pair.member) if where.is_dir() else where
        if file not in seen:
            seen.add(file)
            facts = file.stat() if file.exists() else None
            digest.update(f"{file.resolve()} {facts and (facts.st_size, facts.st_mtime_ns)}\n".encode())
        digest.update(f"{pair.member}\n".encode())
    return digest.hexdigest()[:24]
