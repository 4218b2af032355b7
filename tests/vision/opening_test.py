"""Files that are no pictures, too large, or cut off."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from danlu.errors import DanluError
from danlu.vision.film import open_film, spaced
from danlu.vision.opening import open_picture


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def png(width: int = 9, height: int = 5) -> bytes:
    raw = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(raw, "PNG")
    return raw.getvalue()


@pytest.mark.parametrize("size", [(60_000, 60_000), (9_000, 9_000)])
def test_large_pictures_are_not_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(DanluError, match="E2202"):
        open_picture(bomb(*size))
    assert open_picture(png(), most=45).size == (9, 5)
    with pytest.raises(DanluError, match="E2202"):
        open_picture(png(), most=44)


@pytest.mark.parametrize("raw", [b"", b"hello", b"%PDF-1.4 ...", b"%!PS-Adobe-3.0 EPSF\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E2201"):
        open_picture(raw)
    (tmp_path / "x.png").write_bytes(raw)
    with pytest.raises(DanluError, match="E2201"):
        open_picture(tmp_path / "x.png")


def test_every_way_to_be_cut_off_is_an_error() -> None:
    whole = png(40, 40)
    for length in range(0, len(whole) - 20, 37):
        with pytest.raises(DanluError, match=r"E220[13]"):
            open_picture(whole[:length])


def test_frames_are_spread_over_a_film() -> None:
    frames = [Image.new("RGB", (8, 8), (20 * number, 0, 0)) for number in range(10)]
    raw = io.BytesIO()
    frames[0].save(raw, "GIF", save_all=True, append_images=frames[1:], duration=50)
    found = open_film(raw.getvalue(), 4)
    reds = [np.asarray(each)[0, 0, 0] for each in found]
    assert reds == sorted(reds)
    assert abs(int(reds[0]) - 0) <= 4
    assert abs(int(reds[-1]) - 180) <= 4
    assert spaced(10, 4) == [0, 3, 6, 9]
    assert len(open_film(raw.getvalue(), 1)) == 1


def test_one_frame_is_no_film() -> None:
    raw = io.BytesIO()
    Image.new("RGB", (8, 8)).save(raw, "GIF")
    with pytest.raises(DanluError, match="E2211"):
        open_film(raw.getvalue(), 4)
    with pytest.raises(DanluError, match="E2201"):
        open_film(b"no film", 4)


def test_other_films_want_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.vision.film.find_spec", lambda name: None)
    with pytest.raises(DanluError, match="E2212"):
        open_film(b"\x00\x00\x00\x18ftypmp42", 4, suffix=".mp4")


def test_films_of_other_kinds() -> None:
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    raw = io.BytesIO()
    with av.open(raw, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(20):
            grey = np.full((64, 64, 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    found = [float(np.asarray(each).mean()) for each in open_film(raw.getvalue(), 4, suffix=".mp4")]
    assert found == pytest.approx([0, 72, 156, 228], abs=8)
    with pytest.raises(DanluError, match="E2202"):
        open_film(raw.getvalue(), 4, suffix=".mp4", most=4000)
    with pytest.raises(DanluError, match="E2203"):
        open_film(raw.getvalue()[:300], 4, suffix=".mp4")
