from collections.abc import Callable
from typing import Any

import pytest

from danlu.data.inspect import Cell, Inspection
from danlu.errors import Language
from danlu.report.inspection import inspection_page
from danlu.voice import Voice


def sample() -> Inspection:
    texts = ["[CLS]", "the", "cat", "[MASK]", "on", "dog", "mat", "[SEP]", "<b>", " new", "\n", "[PAD]"]
    marks = ["special", "", "", "masked", "kept", "replaced", "", "special", "", "", "", "pad"]
    targets = [None, None, None, "sat", "on", "the", None, None, None, None, None, None]
    row = [Cell(*cell, document=int(at > 7)) for at, cell in enumerate(zip(texts, marks, targets, strict=True))]
    counts = {
        "rows": 1,
        "tokens": 11,
        "documents": 2,
        "targets": 3,
        "masked": 1,
        "replaced": 1,
        "kept": 1,
        "special": 2,
        "pad": 1,
    }
    return Inspection("masked", [row], counts)


@pytest.mark.parametrize(("language", "word"), [("en", "hidden"), ("zh", "被掩码")])
def test_tokens_marks_targets_and_borders(read_page: Callable[[str], Any], language: Language, word: str) -> None:
    text = inspection_page([sample()], Voice(language))
    tree = read_page(text)
    assert word in tree.text
    assert '<span class="token" data-k="masked" style="--k:var(--c0)">[MASK]<small>sat</small></span>' in text
    assert text.count('class="border"') == 1
    assert text.count('class="token pad"') == 1
    assert "<b>" in tree.text
    assert "·new" in tree.text
    assert "⏎" in tree.text
    assert "33.3%" in tree.text


def test_no_row_at_all(read_page: Callable[[str], Any]) -> None:
    read_page(inspection_page([Inspection("causal", [], {"rows": 0, "tokens": 0, "targets": 0})], Voice("en")))
