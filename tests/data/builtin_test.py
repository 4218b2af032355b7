import json
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from danlu.data.builtin import BUILTIN, builtin_file, docstrings, english, package_folder, paragraphs, python, samples
from danlu.data.sources import DataSettings
from danlu.data.texts import texts
from danlu.voice import Voice


def test_docstrings_are_read_without_importing() -> None:
    before = set(sys.modules)
    found = list(islice(docstrings(), 300))
    assert {"__future__", "_compression"} <= {each.module for each in found}
    assert set(sys.modules) == before
    assert package_folder("numpy") is not None
    assert package_folder("no_such_package") is None


def test_prose_is_prose() -> None:
    rows = list(islice(english(), 100))
    assert len(rows) == 100
    text = "\n".join(row["text"] for row in rows)
    assert ">>>" not in text
    letters = sum(character.isalpha() or character.isspace() for character in text)
    assert letters > 0.9 * len(text)


def test_paragraphs_leave_out_examples_and_tables() -> None:
    prose = "It returns the sum of the two numbers,\nwhatever they are."
    text = f"{prose}\n\n>>> add(1, 2)\n3\n\nx : int\n    The first one of the numbers that are added.\n\n====\n"
    assert paragraphs(text) == ["It returns the sum of the two numbers, whatever they are."]


def test_the_library_is_text_that_every_machine_has() -> None:
    first = next(python())
    assert "import" in first["text"]
    assert sum(1 for _ in islice(python(), 200)) == 200


def test_bilingual_sentences_are_many_different_and_in_both_languages() -> None:
    rows = samples("bilingual")
    assert len(rows) >= 200
    for side in ("en", "zh"):
        assert len({row[side] for row in rows}) == len(rows)
    for row in rows:
        assert not any("一" <= character <= "鿿" for character in row["en"])
        assert any("一" <= character <= "鿿" for character in row["zh"])
        assert row["en"][-1] in '.?!"'
        assert row["zh"][-1] in "。？！”"
    assert len({row["topic"] for row in rows}) >= 10


def test_rows_with_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two small packages in the place of the large ones."""
    monkeypatch.setattr("danlu.data.builtin.PACKAGES", ("yaml", "safetensors"))
    rows = list(BUILTIN["packages"]())
    counts = Counter(row["label"] for row in rows)
    assert set(counts) == {"python", "yaml", "safetensors"}
    assert len(set(counts.values())) == 1
    assert len({row["text"] for row in rows}) == len(rows)
    pairs = list(islice(BUILTIN["summaries"](), 50))
    assert all(2 * len(row["target"]) < len(row["source"]) for row in pairs)
    lines = list(islice(BUILTIN["tokens"](), 200))
    assert all(len(row["tokens"]) == len(row["tags"]) for row in lines)
    kinds = {(token, tag) for row in lines for token, tag in zip(row["tokens"], row["tags"], strict=True)}
    assert {("import", "keyword"), ("=", "operator"), ("self", "name")} <= kinds


def test_a_builtin_name_is_a_path(tmp_path: Path, settings: Callable[..., DataSettings], voice: Voice) -> None:
    found = list(texts(settings("builtin:bilingual"), voice))
    assert len(found) == len(samples("bilingual"))
    assert samples("bilingual")[0]["zh"] in found[0]
    path = builtin_file("bilingual", tmp_path)
    assert json.loads(path.read_text().splitlines()[0])["en"] == samples("bilingual")[0]["en"]
    path.touch()
    assert builtin_file("bilingual", tmp_path) == path


def test_english_is_enough_to_learn_from(tmp_path: Path, full: bool) -> None:
    if not full:
        pytest.skip("reads every library; part of the full suite")
    assert builtin_file("english", tmp_path).stat().st_size > 1_500_000
    assert set(BUILTIN) == {"english", "python", "bilingual"}
