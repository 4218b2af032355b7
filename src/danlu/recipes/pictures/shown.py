"""What a report shows of pictures: some of them with the texts they find, their similarities, the worst mistakes."""

import base64
import io
from itertools import islice

import numpy as np
from PIL import Image

from danlu.data.pictures.prepare import Side
from danlu.data.pictures.store import Pixels
from danlu.evaluate.pictures import Embedded, misses
from danlu.settings import Data

SAMPLES, MATRIX, EDGE, NEAREST = 8, 16, 96, 3


def shown(found: Embedded, side: Side) -> Data:
    """Plain data for evaluation.json: `samples`, `matrix` and `mistakes`, the pictures as small PNGs in base64."""
    count = len(side.pairs)
    scores = found.similarities
    spread = [at * count // min(SAMPLES, count) for at in range(min(SAMPLES, count))]
    samples = []
    for at in spread:
        order = np.argsort(-scores[at], kind="stable")
        texts = list(islice(dict.fromkeys(side.caption(int(other)) for other in order), NEAREST))
        samples.append({"picture": thumbnail(side, at), "caption": side.caption(at), "found": texts})
    different = list({side.caption(at): at for at in reversed(range(count))}.values())[::-1]  # a picture a caption
    some = [different[at * len(different) // MATRIX] for at in range(MATRIX)] if len(different) > MATRIX else different
    matrix = {
        "captions": [side.caption(at) for at in some],
        "pictures": [thumbnail(side, at, EDGE // 2) for at in some],
        "cosines": [[round(float(scores[row, column]), 3) for column in some] for row in some],
    }
    mistakes = [
        {"picture": thumbnail(side, at), "caption": side.caption(at), "taken": side.caption(other),
         "cosine": round(float(scores[at, at]), 3), "other": round(float(scores[at, other]), 3)}
        for at, other in misses(found)
    ]  # fmt: skip
    return {"samples": samples, "matrix": matrix, "mistakes": mistakes}


def thumbnail(side: Side, number: int, edge: int = EDGE) -> str:
    """A small PNG in base64; of a film, its first, middle and last frame side by side."""
    return thumbnail_of(np.asarray(side.data.pixels[side.data.index[number]]), edge)


def thumbnail_of(pixels: Pixels, edge: int = EDGE) -> str:
    """The same of pixels ([frames,] height, width, 3)."""
    frames = [pixels] if pixels.ndim == 3 else [pixels[0], pixels[len(pixels) // 2], pixels[-1]]
    row = np.concatenate(frames, axis=1)
    picture = Image.fromarray(row)
    height = min(edge, row.shape[0])
    picture = picture.resize((max(1, round(row.shape[1] * height / row.shape[0])), height))
    raw = io.BytesIO()
    picture.save(raw, "PNG", optimize=True)
    return base64.b64encode(raw.getvalue()).decode()
