"""Documents in plain text: where one ends and the next begins."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from danlu.data.lines import Line

Borders = Literal["auto", "file", "paragraphs", "lines"]

PIECE = 4096  # characters; tokenizers work in linear time only on texts of bounded length
WORTHWHILE = 1000  # characters a unit must hold on average to be a document of its own
# Before white space (a line end first), behind the end of a sentence: places where tokenizers cut anyway.
CUTS = (re.compile(r"(?<=\S)(?=\s*\n)"), re.compile(r"(?<=[。！？；])|(?<=\S)(?=\s)"))


class Part(NamedTuple):
    """Some of a document's text; `begins` on its first part, `line` is where the document stands. side: which of its
    languages this is, of translations."""

    text: str
    line: int
    begins: bool
    side: int = 0


def fitting(sample: Sequence[Line], apart: bool = False) -> Borders:
    """The smallest of lines, blank-line paragraphs and the whole file that holds 1,000 characters on average.

    Shorter units would cost a language model the context it learns from, and borders between them mean little. apart:
    where documents are judged one by one, a file is never one: its paragraphs are, or its lines.
    """
    filled = [len(line.text) for line in sample if line.text.strip()]
    if not filled:
        return "file"
    if sum(filled) >= WORTHWHILE * len(filled):
        return "lines"
    blank = [not line.text.strip() for line in sample]
    ends = sum(now and not before for before, now in zip([True, *blank], blank, strict=False)) + (not blank[-1])
    if ends > 1 and (apart or sum(filled) >= WORTHWHILE * ends):
        return "paragraphs"
    return "lines" if apart else "file"


def documents(lines: Iterable[Line], borders: Borders) -> Iterator[Part]:
    """The documents of a file in parts of bounded size, with their inner line ends and without blank ones around."""
    parts: list[str] = []
    held: list[str] = []  # blank lines, which matter only if text of the same document follows
    start, size, begins, fresh = 0, 0, True, True
    for text, number, whole in lines:
        blank = fresh and whole and not text.strip()
        if (borders == "lines" and fresh) or (borders == "paragraphs" and blank):
            if parts:
                yield Part("".join(parts), start, begins)
            parts, size, begins, held = [], 0, True, []
        if blank:
            held.append(text)
        else:
            if begins and not parts:
                start, between = number, ""
            else:
                between = "\n".join(["", *held, ""]) if fresh else ""
            parts += [between, text.replace("\r", "\n")]
            size, held = size + len(parts[-2]) + len(text), []
            if size >= 16 * PIECE:
                yield Part("".join(parts), start, begins)
                parts, size, begins = [], 0, False
        fresh = whole
    if parts:
        yield Part("".join(parts), start, begins)


def cut(part: Part) -> Iterator[Part]:
    """The same text in pieces of at most `PIECE` characters, cut where it hurts least."""
    text, line, begins, side = part
    at = 0
    while len(text) - at > PIECE:
        end = _border(text, at)
        yield Part(text[at:end], line, begins, side)
        at, begins = end, False
    yield Part(text[at:], line, begins, side)


def _border(text: str, start: int) -> int:
    """The last good place to cut in the second half of a piece."""
    for pattern in CUTS:
        if places := [found.start() for found in pattern.finditer(text, start + PIECE // 2, start + PIECE)]:
            return places[-1]
    return start + PIECE
