"""Does a model that sees films know which way a digit moves, and does it know it from their order?

`python -m benchmarks.films [--steps 600]`. 2,000 films of scikit-learn's digits moving left, right, up or down; who
leaves on one side comes in on the other. 400 more of digits that no training film shows: direction; the same backwards,
right where the opposite is answered; and one frame alone, four times. Bar: 95 % each of the first two; chance is 25 %.
Ours is the accuracy in per cent, theirs the bar.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageSequence

import danlu
from benchmarks.answer import Answer
from danlu.data.builtin_pictures import films, gif, write_tar

BAR, FRAMES, KNOWN = 95.0, 4, 1400  # digits that training films are made of
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
RECIPE = {"train.batch": 64, "train.evaluate_every": 200, "model.depth": 3, "data.held_out": 0.05}


def asked(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The direction alone."""
    for row in rows:
        yield {"image": row["image"], "question": row["question"][0], "answer": row["answer"][0]}


def backwards(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row | {"image": gif(_frames(row["image"])[::-1]), "answer": OPPOSITE[row["answer"]]}


def still(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One frame for all; a film of frames that are quite equal would be one of a single frame, so one pixel differs."""
    for row in rows:
        frame = _frames(row["image"])[0]
        frames = [frame.copy() for _ in range(FRAMES)]
        for number, each in enumerate(frames):
            each.putpixel((0, 0), number)
        yield row | {"image": gif(frames)}


def _frames(raw: bytes) -> list[Image.Image]:
    with Image.open(io.BytesIO(raw)) as film:
        return [frame.convert("L") for frame in ImageSequence.Iterator(film)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--tests", type=int, default=400)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_tar(folder / "train.tar", asked(films(given.films, 0, slice(KNOWN))))
        tests = list(asked(films(given.tests, 1, slice(KNOWN, None))))
        for name, rows in {"forwards": tests, "backwards": backwards(tests), "still": still(tests)}.items():
            write_tar(folder / f"{name}.tar", rows)
        began = time.monotonic()
        run = danlu.finetune(
            "palm-vision-tiny", folder / "train.tar", output=folder / "run",
            **{"data.frames": FRAMES, "train.steps": given.steps, **RECIPE},
        )  # fmt: skip
        seconds = time.monotonic() - began
        found = {
            name: 100 * danlu.call("evaluate", run.path, folder / f"{name}.tar").metrics["accuracy"]["value"]
            for name in ("forwards", "backwards", "still")
        }
    conditions = {"steps": given.steps, "seconds": round(seconds), "chance": 25.0, **RECIPE, **found}
    for name in ("forwards", "backwards"):
        question = f"the direction of a moving digit, {name}"
        Answer(question, found[name], BAR, found[name] / BAR, 1.0, conditions).show()
    alone = found["still"]
    Answer("the direction from one frame, at most chance", alone, 25.0, 25.0 / max(alone, 1e-9), 0.8, conditions).show()


if __name__ == "__main__":
    main()
