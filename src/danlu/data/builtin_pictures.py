"""Pictures that every installation can make, with captions in English (`en`, also `text`) and Chinese (`zh`).

scenes, unseen: drawn scenes, 20,000 to learn from and 520 of combinations that the others do not have. digits:
scikit-learn's handwritten digits. films: such digits moving left, right, up or down; who leaves on one side comes in on
the other, so that no frame alone says which way. stirring: films of drawn scenes, the shapes turning where they are;
unseen_stirring: of combinations held out. Films and scenes have questions and answers as well (`question`, `answer`).
"""

import hashlib
import inspect
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray
from PIL import Image

from danlu.data import scenes as drawing
from danlu.data.order import uniforms
from danlu.errors import DanluError, nearest
from danlu.files import TEMPORARY, write_file

PREFIX = "builtin:"
SCENES, UNSEEN, FILMS, STIRRING = 20_000, 520, 2_000, 4_000
EDGE, FRAMES, LARGER, STRIDE = 32, 8, 2, 3
STILLS, STIRRED = 4, 7  # frames of a stirred scene; its stream of chance
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CHINESE = "零一二三四五六七八九"
DIRECTIONS: Mapping[str, tuple[tuple[int, int], str]] = {
    "left": ((-1, 0), "左"), "right": ((1, 0), "右"), "up": ((0, -1), "上"), "down": ((0, 1), "下"),
}  # fmt: skip
QUESTIONS: Mapping[str, str] = {
    "what shape is it?": "shape", "what colour is it?": "colour", "how many are there?": "number",
    "where is it?": "place",
}  # fmt: skip
MOVING = ("which way does it move?", "which digit is it?")
Row = dict[str, Any]


def builtin_pictures(name: str, folder: Path) -> Path:
    """A file with pictures and captions, made once a version. E1215 for an unknown name."""
    if name not in MADE:
        raise DanluError("E1215", name=name, possible=list(MADE), nearest=nearest(name, MADE))
    source = inspect.getsource(drawing) + inspect.getsource(sys.modules[__name__])
    suffix, make = MADE[name]
    path = folder / f"{name}-{hashlib.sha256(source.encode()).hexdigest()[:8]}{suffix}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}{TEMPORARY}{os.getpid()}")
        (_parquet if suffix == ".parquet" else write_tar)(made, make())
        os.replace(made, path)
    return path


def scenes(count: int, held_out: bool) -> Iterator[Row]:
    for scene, picture in drawing.scenes(count, held_out):
        yield {"image": _png(picture)} | _told(scene)


def stirring(count: int, held_out: bool) -> Iterator[Row]:
    """Scenes as films of four frames: the same combination drawn afresh, as if somebody stirred it."""
    known = drawing.combinations(held_out)
    for number in range(count):
        scene = known[number % len(known)]
        chances = uniforms(STIRRED + held_out, 0, range(STILLS * number, STILLS * (number + 1)), 24)
        yield {"image": gif([drawing.drawn(scene, chance) for chance in chances])} | _told(scene)


def _told(scene: drawing.Scene) -> Row:
    """Captions, facts, and questions about them."""
    return {
        "text": scene.en, "en": scene.en, "zh": scene.zh, **scene._asdict(),
        "question": list(QUESTIONS),
        "answer": [getattr(scene, fact) for fact in QUESTIONS.values()],
    }  # fmt: skip


def digits() -> Iterator[Row]:
    for pixels, label in zip(*_digits(), strict=True):
        picture = Image.fromarray(pixels).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
        en = f"the handwritten digit {NAMES[label]}"
        yield {"image": _png(picture), "text": en, "en": en, "zh": f"手写数字{CHINESE[label]}", "label": NAMES[label]}


def films(count: int = FILMS, seed: int = 0, among: slice = slice(None)) -> Iterator[Row]:
    """among: which of the digits they are made of."""
    pixels, labels = (each[among] for each in _digits())
    for number in range(count):
        chance = uniforms(seed, 0, number, 4)[0]
        which = int(chance[0] * len(pixels))
        direction = list(DIRECTIONS)[int(chance[1] * len(DIRECTIONS))]
        frames = _moving(pixels[which], DIRECTIONS[direction][0], chance[2:])
        en = f"the digit {NAMES[labels[which]]} moves {direction}"
        zh = f"数字{CHINESE[labels[which]]}向{DIRECTIONS[direction][1]}移动"
        asked = {"question": list(MOVING), "answer": [direction, NAMES[labels[which]]]}
        yield {"image": gif(frames), "text": en, "en": en, "zh": zh, "direction": direction} | asked


def _moving(pixels: NDArray[np.uint8], step: tuple[int, int], chance: NDArray[np.float64]) -> list[Image.Image]:
    """A digit of 16 pixels on 32, which moves by a few each frame; where it begins is chance."""
    digit = Image.fromarray(pixels).resize((EDGE // LARGER, EDGE // LARGER), Image.Resampling.BICUBIC)
    ground = np.zeros((EDGE, EDGE), np.uint8)
    ground[: digit.height, : digit.width] = np.asarray(digit)
    begin = (chance * EDGE).astype(int)
    shifts = [begin + STRIDE * number * np.array(step) for number in range(FRAMES)]
    return [Image.fromarray(np.roll(ground, (down, right), (0, 1))) for right, down in shifts]


def gif(frames: list[Image.Image]) -> bytes:
    raw = io.BytesIO()
    frames[0].save(raw, "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)
    return raw.getvalue()


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(1797, 8, 8) in 0 to 255, and what they show. Imported here: scikit-learn takes a second."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.images * (255 / 16)).astype(np.uint8), found.target


def _png(picture: Image.Image) -> bytes:
    raw = io.BytesIO()
    picture.save(raw, "PNG", compress_level=1)
    return raw.getvalue()


def _parquet(path: Path, rows: Iterator[Row]) -> None:
    table = pyarrow.Table.from_pylist(list(rows))
    write_file(path, lambda file: pyarrow.parquet.write_table(table, file, row_group_size=1000))


def write_tar(path: Path, rows: Iterable[Row]) -> None:
    """Films (`image`, a GIF) with the rest of their rows as JSON beside them, as WebDataset has it."""

    def write(file: Any) -> None:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for number, row in enumerate(rows):
                said = json.dumps({name: each for name, each in row.items() if name != "image"}, ensure_ascii=False)
                for suffix, raw in ((".gif", row["image"]), (".json", said.encode())):
                    member = tarfile.TarInfo(f"{number:06d}{suffix}")
                    member.size = len(raw)
                    tar.addfile(member, io.BytesIO(raw))

    write_file(path, write)


MADE: Mapping[str, tuple[str, Callable[[], Iterator[Row]]]] = {
    "scenes": (".parquet", partial(scenes, SCENES, held_out=False)),
    "unseen": (".parquet", partial(scenes, UNSEEN, held_out=True)),
    "digits": (".parquet", digits),
    "films": (".tar", films),
    "stirring": (".tar", partial(stirring, STIRRING, held_out=False)),
    "unseen_stirring": (".tar", partial(stirring, UNSEEN, held_out=True)),
}
