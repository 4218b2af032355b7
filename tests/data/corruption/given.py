"""A vocabulary, documents and rows for the tests of corruptions."""

from typing import Any

import numpy as np
from torch import Tensor

from danlu.data.batch import IGNORED, Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.order import Chance
from danlu.data.packing import Packed, Rows

PAD, END, UNKNOWN, START, MASK = range(5)
SPECIAL = {"pad": PAD, "end": END, "separator": END, "unknown": UNKNOWN, "start": START, "mask": MASK}
SPECIAL |= {"before": 5, "after": 6, "between": 7, "regular": 8, "extreme": 9, "sequential": 10}
SENTINELS = tuple(range(999, 899, -1))
STOP = 20  # the token that ends a sentence


def pieces(ids: Any) -> list[str]:
    return ["." if index == STOP else f" w{index}" for index in ids]


WORDS = Words(1000, SPECIAL, SENTINELS, PAD, pieces)
T5 = Words(1000, {name: SPECIAL[name] for name in ("pad", "end", "unknown")}, SENTINELS, PAD, pieces)


def documents(count: int, longest: int, seed: int = 0, shortest: int = 1) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(20, 900, size=random.integers(shortest, longest)).tolist() for _ in range(count)]


def made(
    kind: str, texts: list[list[int]], length: int = 128, words: Words = WORDS, epoch: int = 0, seed: int = 0,
    some: Any = None, **given: Any,
) -> tuple[Rows, Packed, Batch]:  # fmt: skip
    """The rows, what was packed, and what was made of it."""
    settings = CorruptionSettings(kind=kind, **given)
    rows = pack(Corpus.of(texts), length, settings, words)
    numbers = np.arange(len(rows)) if some is None else np.array(some)
    chance = Chance(seed, np.full(len(numbers), epoch), numbers)
    packed = rows.take(numbers, chance)
    return rows, packed, corruption(settings, words)(packed, chance)


def texts_of(tokens: Tensor, documents: Tensor | None, asked: bool = False) -> list[list[int]]:
    """The texts of rows one by one; `asked` for targets, where what is not asked for is nothing."""
    found: list[list[int]] = []
    for number, row in enumerate(tokens.tolist()):
        marks = documents[number].tolist() if documents is not None else [0] * len(row)
        for document in range(max(marks) + 1):
            found.append([token for token, mark in zip(row, marks, strict=True) if mark == document])
    return [[token for token in text if token != IGNORED] for text in found] if asked else found


def pairs_of(batch: Batch) -> list[tuple[list[int], list[int], list[int]]]:
    """(source, what the decoder is given, what it should answer) of every text of a batch of two towers."""
    sources = texts_of(batch.inputs["source"], batch.inputs.get("source_documents"))
    given = texts_of(batch.inputs["target"], batch.inputs.get("target_documents"))
    asked = texts_of(batch.targets["tokens"], batch.inputs.get("target_documents"))
    return list(zip(sources, given, asked, strict=True))
