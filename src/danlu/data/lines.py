"""The lines of a text file as they stream by, whatever its compression and encoding."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from danlu.errors import DanluError

Stream: TypeAlias = "io.BufferedReader[Any]"

HEAD = 65536  # bytes looked at to tell what a file is
CHUNK = 1 << 20  # a longer line is handed on in parts

BOMS = (  # UTF-32's little-endian mark begins like UTF-16's, so it comes first
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
MAGIC = (
    (b"%PDF", "a PDF document"), (b"PK\x03\x04", "a zip archive or an office document"),
    (b"\x89PNG", "a picture (PNG)"), (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"), (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"), (b"\x28\xb5\x2f\xfd", "a zstandard archive"), (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"), (b"\xd0\xcf\x11\xe0", "an old office document"),
    (b"\x80\x02", "a pickle"), (b"\x80\x04", "a pickle"), (b"PAR1", "a Parquet file"),
)  # fmt: skip
GZIP = b"\x1f\x8b"
# The most frequent characters of Chinese, simplified and traditional, tell GB18030 from other encodings: those decode
# as some Chinese characters too, but not as these.
COMMON = frozenset(
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之過后家这對後個來們為說"
)


class Line(NamedTuple):
    """A line without its end. Parts of one long line share its number; all but the last say `whole=False`."""

    text: str
    number: int
    whole: bool = True


@contextmanager
def opened(path: Path) -> Iterator[tuple[Stream, Stream]]:
    """(the content, the file on the disk): different streams where the file is gzipped, which its first bytes tell.

    E1201 where there is no file, E1207 where the compression is damaged, E1213 where it cannot be read.
    """
    try:
        with io.BufferedReader(io.FileIO(path), CHUNK) as raw:
            if raw.peek(2)[:2] != GZIP:
                yield raw, raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield io.BufferedReader(unpacked, CHUNK), raw
    except FileNotFoundError as error:
        raise DanluError("E1201", where=path) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DanluError("E1207", where=path, found=error) from error
    except OSError as error:
        raise DanluError("E1213", where=path, found=error.strerror or error) from error


def encoding_of(head: bytes, where: str) -> str:
    """The encoding of a text file by its first bytes. E1205 where they are not text."""
    for mark, encoding in BOMS:
        if head.startswith(mark):
            return encoding
    for magic, kind in MAGIC:
        if head.startswith(magic):
            raise DanluError("E1205", where=where, kind=kind, found=head[:8])
    if b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) > 0.2 * len(head) / 2 and min(even, odd) < 0.05 * max(even, odd):
            return "utf-16-le" if odd > even else "utf-16-be"
        raise DanluError("E1205", where=where, kind="binary data", found=head[:8])
    if _decodes(head, "utf-8") is not None:
        return "utf-8"
    return "gb18030" if _is_chinese(head) else "utf-8"


def lines(file: Stream, where: str, encoding: str = "auto") -> Iterator[Line]:
    """The lines of a stream; "\\n" and "\\r\\n" end one. E1204 names the line and the byte that are not text."""
    if encoding == "auto":
        encoding = encoding_of(file.peek(HEAD)[:HEAD], where)
    try:
        encoding = codecs.lookup(encoding).name
        decoder = codecs.getincrementaldecoder(encoding)("strict")
    except LookupError as error:
        raise DanluError("E1214", where=where, name=encoding) from error
    wide = encoding.startswith(("utf-16", "utf-32"))  # a line end is more than one byte
    number, before, pending = 1, 0, ""
    while True:
        raw = file.read(CHUNK) if wide else file.readline(CHUNK)
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            line = number + error.object[: error.start].count(b"\n") if wide else number
            byte = before - held + error.start
            bad = error.object[error.start : error.start + 4].hex(" ")
            likely = "gb18030" if encoding == "utf-8" and _decodes(error.object, "gb18030") else None
            raise DanluError(
                "E1204", where=f"{where}:{line}", found=bad, nearest=likely, line=line, byte=byte, encoding=encoding
            ) from error
        before += len(raw)
        if wide:
            *ended, pending = (pending + text).split("\n")
            for each in ended:
                yield Line(each.removesuffix("\r"), number)
                number += 1
            if not raw:
                break
        elif text.endswith("\n"):
            yield Line(text.removesuffix("\n").removesuffix("\r"), number)
            number += 1
        elif text:
            yield Line(text, number, whole=len(raw) < CHUNK)  # the file ends without a line end
        if not raw:
            break
    if pending:
        yield Line(pending.removesuffix("\r"), number)


def _decodes(head: bytes, encoding: str) -> str | None:
    """The text, a last character cut off aside."""
    try:
        return codecs.getincrementaldecoder(encoding)("strict").decode(head)
    except UnicodeDecodeError:
        return None


def _is_chinese(head: bytes) -> bool:
    text = _decodes(head, "gb18030")
    foreign = [character for character in text or "" if character > "\x7f"]
    return bool(foreign) and sum(character in COMMON for character in foreign) > 0.08 * len(foreign)
