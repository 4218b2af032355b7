"""Texts as numbers to be compared by: words, and runs of words."""

import re
import unicodedata
import zlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from danlu.data.order import Words, mixed

# A character of Chinese or Japanese is a word, and so is whatever stands between spaces and signs elsewhere.
WORD = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿]|[^\W_぀-ヿ㐀-䶿一-鿿豈-﫿]+")


def normal(text: str) -> str:
    """Compatible forms and capitals made the same."""
    return unicodedata.normalize("NFKC", text).casefold()


def words_of(text: str) -> list[str]:
    """The words of a normalised text."""
    return WORD.findall(normal(text))


def grams(words: list[str], size: int) -> Words:
    """A 64-bit number for each run of `size` words, (N,); the same run has the same number everywhere. A shorter text
    is one run; a text without words has none."""
    if not words:
        return np.zeros(0, np.uint64)
    numbers = np.fromiter(map(_number, words), np.uint64, len(words))
    size = min(size, len(words))
    runs = np.full(len(words) - size + 1, size, np.uint64)
    for at in range(size):
        runs = mixed(runs * np.uint64(0x9E3779B97F4A7C15) + numbers[at : at + len(runs)])
    return runs


@cache
def _seeds(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    chance = mixed(np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return chance[:count] | np.uint64(1), chance[count:]


def signature(runs: Words, hashes: int) -> NDArray[np.uint32]:
    """MinHash (Broder 1997): the smallest of each hash of the runs, (hashes,). The share of equal places in two
    signatures estimates the share of runs that two texts have in common."""
    factor, shift = _seeds(hashes)
    least = np.full(hashes, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(runs), 4096):
        hashed = (runs[start : start + 4096, None] * factor + shift) >> np.uint64(32)
        np.minimum(least, hashed.min(axis=0).astype(np.uint32), out=least)
    return least


def _number(word: str) -> int:
    raw = word.encode("utf8", errors="replace")
    return zlib.crc32(raw) << 32 | zlib.adler32(raw)
