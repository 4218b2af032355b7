import io
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.inspect import MARKS, inspect, show
from danlu.data.loader import Loader
from danlu.voice import Voice

TEXTS = ["a quick brown fox jumps over the lazy dog", "pack my box", "sphinx of black quartz judge my vow"] * 20


def loader(letters: Any, kind: str, **given: float) -> Loader:
    settings = CorruptionSettings(kind=kind, **given)
    words = Words(letters.vocabulary, letters.special)
    rows = pack(Corpus.of(letters.encode_many(TEXTS)), 40, settings, words)
    return Loader(rows, corruption(settings, words), 4, 0)


def test_masked_rows_can_be_read_back(letters: Any) -> None:
    given = loader(letters, "mask", share=0.3)
    found = inspect(given, letters, 10)
    assert found.objective == "masked"
    assert len(found.rows) == 10
    batch = [row for step in range(3) for row in given.batch(step).inputs["tokens"].tolist()]
    epochs, numbers = (np.concatenate(part) for part in zip(*(given.samples(step) for step in range(3)), strict=True))
    original = given.rows.take(numbers).tokens.tolist()
    assert not epochs.any()
    for row, tokens, before in zip(found.rows, batch, original, strict=False):
        assert [cell.text for cell in row] == letters.pieces(tokens)
        answered = [cell.text if cell.target is None else cell.target for cell in row]
        assert answered == letters.pieces(before)
        for cell in row:
            assert (cell.mark == "masked") == (cell.text == "[mask]")
            assert (cell.mark in ("masked", "replaced", "kept")) == (cell.target is not None)
            assert (cell.mark == "kept") == (cell.target == cell.text)
    assert found.counts["targets"] == sum(found.counts[mark] for mark in ("masked", "replaced", "kept"))
    assert set(found.counts) <= {"rows", "tokens", "documents", "targets", *MARKS}


def test_causal_targets_are_the_next_cells(letters: Any) -> None:
    found = inspect(loader(letters, "shift"), letters, 3)
    assert found.objective == "causal"
    for row in found.rows:
        for here, following in pairwise(row):
            if here.document == following.document:
                assert here.target == following.text


@pytest.mark.parametrize("kind", ["mask", "shift"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_terminal_shows_tokens_targets_and_borders(letters: Any, kind: str, language: Any) -> None:
    found = inspect(loader(letters, kind), letters, 2)
    console = Console(file=io.StringIO(), width=60)
    show(found, Voice(language), console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 60
    borders = sum(a.document != b.document for row in found.rows for a, b in pairwise(row))
    body = text.split("row 0" if language == "en" else "第 0 行")[1]
    assert body.count("‖") == 2 * borders > 0
    assert body.count("[mask]") == sum(cell.mark == "masked" for row in found.rows for cell in row)
    assert ("targets" if language == "en" else "应答") in text


def test_no_more_rows_than_there_are(letters: Any) -> None:
    given = loader(letters, "shift")
    assert len(inspect(given, letters, 10_000).rows) <= len(given.rows) + given.size
