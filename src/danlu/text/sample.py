"""An evenly spread sample of a text stream of any length, in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PIECE = (
    10_000  # characters; long documents are cut at a line's end near here, so that they can be thinned and shared out
)


@dataclass(frozen=True)
class Sample:
    """pieces: what was kept, in order; characters, bytes: of the whole stream; letters: how often each was kept."""

    pieces: list[str]
    characters: int
    bytes: int
    letters: Counter[str]


def take_sample(texts: Iterable[str], most: int) -> Sample:
    """Keep all texts up to `most` characters; beyond, every second piece, then every fourth, …"""
    kept: list[str] = []
    characters = size = held = 0
    stride = 1
    for seen, piece in enumerate(_pieces(texts)):
        characters += len(piece)
        size += len(piece.encode("utf8", errors="replace"))
        if seen % stride == 0:
            kept.append(piece)
            held += len(piece)
        while held > most and len(kept) > 1:
            kept, stride = kept[::2], stride * 2
            held = sum(map(len, kept))
    letters: Counter[str] = Counter()
    for piece in kept:
        letters.update(piece)
    return Sample(kept, characters, size, letters)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        start = 0
        while len(text) - start > PIECE:
            end = text.find("\n", start + PIECE // 2, start + PIECE) + 1 or start + PIECE
            yield text[start:end]
            start = end
        if start < len(text):
            yield text[start:]
