"""Pictures from files that may be anything: size looked at before a pixel is decoded, turned upright, in RGB."""

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from danlu.errors import DanluError

MOST_PIXELS = 64_000_000  # 192 MB once decoded
# Formats whose decoders run nothing but themselves; the first of several frames is the picture.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "TGA", "ICO", "MPO", "JPEG2000", "AVIF")
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".tga", ".ico", ".jp2", ".avif",
)  # fmt: skip


def open_picture(raw: bytes | Path, where: object = None, most: int = MOST_PIXELS) -> Image.Image:
    """Decoded, upright (EXIF), RGB; transparency is left out and other modes converted as Pillow does it.

    most: pixels. E2201 where it is no picture, E2202 where it is too large, E2203 where it breaks off or is damaged.
    """
    where = where if where is not None or isinstance(raw, bytes) else raw
    picture = _looked_at(raw, where)
    width, height = picture.size
    if width * height > most:
        raise DanluError("E2202", where=where, found=f"{width} × {height}", possible=f"≤ {most:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF and palettes; what cannot be read raises
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, ArithmeticError, MemoryError) as error:
        raise DanluError("E2203", where=where, found=str(error) or type(error).__name__) from error


def _looked_at(raw: bytes | Path, where: object) -> Image.Image:
    """The header alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the caller looks at the size
            return Image.open(io.BytesIO(raw) if isinstance(raw, bytes) else raw, formats=_available())
    except Image.DecompressionBombError as error:
        raise DanluError("E2202", where=where, found=str(error).partition(",")[0], possible="") from error
    except FileNotFoundError as error:
        raise DanluError("E1201", where=where) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, ArithmeticError) as error:
        raise DanluError("E2201", where=where, found=_beginning(raw)) from error


def _available() -> list[str]:
    """The formats that this Pillow has."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _beginning(raw: bytes | Path) -> str:
    """The first bytes, to be recognised by a person."""
    if isinstance(raw, bytes):
        return repr(raw[:16])
    try:
        with raw.open("rb") as file:
            return repr(file.read(16))
    except OSError as error:
        return str(error.strerror)
