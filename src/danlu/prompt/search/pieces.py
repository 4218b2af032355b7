"""A template as pieces that can be moved about: words with the space before them, and its holes whole."""

import re
from importlib.util import find_spec

from danlu.prompt.notation import HOLE, read_notation, write_notation
from danlu.prompt.segments import Segment, Text
from danlu.text.chinese import words

Pieces = tuple[str, ...]
PIECE = re.compile(r"\s*(?:\{\{|\}\}|\{[^{}]*\}|[^\W_]+(?:['’-][^\W_]+)*|[^\s\w{}]|_)")
WIDE = re.compile(r"[㐀-䶿一-鿿぀-ヿ]")


def cut(template: tuple[Segment, ...]) -> Pieces:
    """Words, marks and holes ({text}, {mask}), each with the space before it; joined they are the line again, but for
    space at its end."""
    return tuple(part for piece in PIECE.findall(write_notation(template)) for part in _apart(piece))


def joined(pieces: Pieces, whole: tuple[Segment, ...] = ()) -> tuple[Segment, ...]:
    """The template that pieces make; holes that `whole` has are as they are there. E2311 where braces do not fit."""
    known = {_named(segment): segment for segment in whole if not isinstance(segment, Text)}
    return tuple(known.get(_named(segment), segment) for segment in read_notation("".join(pieces).strip()))


def is_hole(piece: str) -> bool:
    found = HOLE.fullmatch(piece.strip())
    return found is not None and piece.strip() not in ("{{", "}}")


def holes(pieces: Pieces) -> Pieces:
    """What has to stay, in whatever order."""
    return tuple(sorted(piece.strip() for piece in pieces if is_hole(piece)))


def like(piece: str, word: str) -> str:
    """A word in a piece's place: with its space, and its capital."""
    space = piece[: len(piece) - len(piece.lstrip())]
    return space + (word.capitalize() if piece.strip()[:1].isupper() else word)


def _named(segment: Segment) -> str:
    return write_notation((segment,))


def _apart(piece: str) -> list[str]:
    """Chinese text in words, where a segmenter is installed, else in characters."""
    if not WIDE.search(piece) or is_hole(piece):
        return [piece]
    if find_spec("jieba"):
        return words(piece)
    return re.findall(r"\s*[^\W㐀-䶿一-鿿぀-ヿ]+|\s*.", piece)
