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


@pytest.mark.parametrize("kind", ["spans", "infill"])
def test_what_is_read_and_what_is_written_side_by_side(letters: Any, kind: str) -> None:
    if kind == "spans":
        letters.sentinels, letters.vocabulary = tuple(range(300, 280, -1)), 301
    words = Words.of(letters)
    settings = CorruptionSettings(kind=kind)
    rows = pack(Corpus.of(letters.encode_many(TEXTS)), 40, settings, words)
    found = inspect(Loader(rows, corruption(settings, words), 4, 0), letters, 3, "objective")
    assert found.parts == ("source", "target")
    assert len(found.rows) == 6
    assert found.counts["rows"] == 3
    for read, written in zip(found.rows[::2], found.rows[1::2], strict=True):
        assert all(cell.target is None for cell in read)
        for here, following in pairwise(written):
            if here.document == following.document >= 0:
                assert here.target == following.text
    mark = "sentinel" if kind == "spans" else "masked"
    assert found.counts[mark]
    console = Console(file=io.StringIO(), width=80)
    show(found, Voice("en"), console)
    assert "what is read" in console.file.getvalue()
    assert "what is written" in console.file.getvalue()


def test_pairs_and_prefixes_are_marked(letters: Any) -> None:
    words = Words.of(letters)

    def seen(**given: Any) -> Any:
        settings = CorruptionSettings(**given)
        rows = pack(Corpus.of(letters.encode_many(TEXTS)), 40, settings, words)
        return inspect(Loader(rows, corruption(settings, words), 4, 0), letters, 20)

    pairs = seen(kind="mask", pairs="next")
    answers = [cell.target for row in pairs.rows for cell in row if cell.target in ("✓", "✗")]
    assert {"✓", "✗"} == set(answers)
    assert pairs.counts["second"]
    prefix = seen(kind="prefix")
    assert prefix.counts["prefix"]
    for row in prefix.rows:
        for here, following in pairwise(row):
            if here.mark == following.mark == "prefix" and here.document == following.document:
                assert here.target is None
