"""Films as a few frames, evenly spaced: GIFs and the like always, other films with the extra `video`."""

import io
from importlib.util import find_spec
from itertools import islice
from typing import Any

from PIL import Image, ImageSequence

from danlu.errors import DanluError
from danlu.vision.opening import MOST_PIXELS, open_picture

MOVING = (".gif", ".apng", ".webp")
SUFFIXES = (".gif", ".mp4", ".mkv", ".webm", ".mov", ".avi")
FEWEST = 2
MOST_FRAMES = 20_000  # looked at


def open_film(
    raw: bytes, count: int, where: object = None, suffix: str = ".gif", most: int = MOST_PIXELS
) -> list[Image.Image]:
    """`count` frames in RGB, from the first to the last.

    E2211 where it has one frame only; E2212 where the extra `video` is wanted and absent; E2201 to E2203 as pictures.
    """
    frames = _moving(raw, count, where, most) if suffix.lower() in MOVING else _decoded(raw, count, where, most)
    if len(frames) < min(FEWEST, count):
        raise DanluError("E2211", where=where, found=len(frames))
    return frames


def spaced(total: int, count: int) -> list[int]:
    """Numbers of `count` frames out of `total`, the first and last among them; some twice where there are fewer."""
    if count == 1:
        return [total // 2]
    return [round(number * (total - 1) / (count - 1)) for number in range(count)]


def _moving(raw: bytes, count: int, where: object, most: int) -> list[Image.Image]:
    open_picture(raw, where, most)  # whatever is wrong with it is told as of a picture
    try:
        with Image.open(io.BytesIO(raw)) as film:
            total = min(getattr(film, "n_frames", 1), MOST_FRAMES)
            if total < FEWEST <= count:
                return [film.convert("RGB")]
            wanted = spaced(total, count)
            found = {
                number: frame.convert("RGB")
                for number, frame in enumerate(ImageSequence.Iterator(film))
                if number in set(wanted) and number < MOST_FRAMES
            }
            return [found[number] for number in wanted if number in found]
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DanluError("E2203", where=where, found=str(error)) from error


def _decoded(raw: bytes, count: int, where: object, most: int) -> list[Image.Image]:
    """By PyAV, which brings FFmpeg's libraries along."""
    if find_spec("av") is None:
        raise DanluError("E2212", where=where)
    import av

    try:
        with av.open(io.BytesIO(raw), "r") as container:
            stream: Any = container.streams.video[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            if width * height > most:
                raise DanluError("E2202", where=where, found=f"{width} × {height}", possible=f"≤ {most:,}")
            total = len([None for _ in islice(container.decode(stream), MOST_FRAMES)])
            if total < FEWEST <= count:
                return []
            wanted = spaced(total, count)
            container.seek(0)
            found = {}
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    found[number] = frame.to_image().convert("RGB")
                if number >= wanted[-1]:
                    break
            return [found[number] for number in wanted if number in found]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise DanluError("E2203", where=where, found=str(error)) from error
