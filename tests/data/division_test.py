import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu.data import division
from danlu.data.corpus import Corpus
from danlu.data.division import divide, split
from danlu.data.sources import DataSettings
from danlu.errors import DanluError
from danlu.voice import Voice

Make = Callable[..., DataSettings]


def written(corpus: Corpus, letters: Any) -> list[str]:
    return [letters.text(corpus.document(index)) for index in range(corpus.documents)]


def many(path: Path, count: int = 2000) -> list[str]:
    texts = [f"document {number}, {'long ' * (number % 7)}" for number in range(count)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return texts


def test_documents_are_held_out_by_their_text(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    texts = many(tmp_path / "a.jsonl")
    found = divide(settings(tmp_path / "a.jsonl", held_out=0.1), letters, voice)
    assert found.validation is not None
    kept, held = written(found.training, letters), written(found.validation, letters)
    assert sorted(kept + held) == sorted(texts)
    assert 150 < len(held) < 250
    assert (found.ledger.trained, found.ledger.held_out, found.ledger.rows) == (len(kept), len(held), 2000)
    reordered = tmp_path / "b.jsonl"
    reordered.write_text("".join(json.dumps({"text": text}) + "\n" for text in reversed([*texts[:1500], "new one"])))
    again = divide(settings(reordered, held_out=0.1), letters, voice)
    assert set(written(again.validation, letters)) == set(held) & set(texts[:1500]) | (
        {"new one"} & set(written(again.validation, letters))
    )


def test_what_two_files_have_in_common_is_said_once(tmp_path: Path, settings: Make, letters: Any) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"the text of {name}")
    heard = io.StringIO()
    divide(settings(tmp_path / "a.txt", validation=(str(tmp_path / "b.txt"),)), letters, Voice("en", heard))
    assert heard.getvalue().count("each file as a whole") == 1


def test_equal_documents_fall_on_the_same_side(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    texts = [f"text {number % 100}" for number in range(1000)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    found = divide(settings(tmp_path / "a.txt", documents="lines", held_out=0.2), letters, voice)
    assert not set(written(found.training, letters)) & set(written(found.validation, letters))


@pytest.mark.parametrize("share", [0.05, 0.25])
def test_one_book_gives_its_end(share: float, tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    text = "".join(f"line {number}\n" for number in range(20_000)).strip()
    (tmp_path / "book.txt").write_text(text)
    found = divide(settings(tmp_path / "book.txt", held_out=share), letters, voice)
    head, tail = written(found.training, letters), written(found.validation, letters)
    assert head[0] + tail[0] == text
    assert abs(len(tail[0]) / len(text) - share) < 0.02
    assert found.validation.bytes == len(tail[0])
    assert (found.ledger.divided, found.ledger.rows) == (1, 1)


def test_few_short_documents_give_at_least_one(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    texts = many(tmp_path / "a.jsonl", 5)
    found = divide(settings(tmp_path / "a.jsonl", held_out=0.0001), letters, voice)
    assert found.ledger.held_out == 1
    assert sorted(written(found.training, letters) + written(found.validation, letters)) == sorted(texts)


def test_automatic_share(
    tmp_path: Path, settings: Make, letters: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(tmp_path / "a.jsonl")
    auto = divide(settings(tmp_path / "a.jsonl"), letters, voice)
    assert 60 < auto.ledger.held_out < 140
    monkeypatch.setattr(division, "AUTO_TOKENS", 500)
    assert 200 < divide(settings(tmp_path / "a.jsonl"), letters, voice).validation.size < 1000


def test_nothing_held_out(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    many(tmp_path / "a.jsonl")
    found = divide(settings(tmp_path / "a.jsonl", held_out=0), letters, voice)
    assert found.validation is None
    assert found.ledger.trained == 2000


def test_a_validation_file(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    many(tmp_path / "a.jsonl")
    many(tmp_path / "b.jsonl", 30)
    found = divide(settings(tmp_path / "a.jsonl", validation=str(tmp_path / "b.jsonl")), letters, voice)
    assert (found.training.documents, found.validation.documents) == (2000, 30)
    assert (found.ledger.trained, found.ledger.held_out, found.ledger.rows) == (2000, 30, 2030)


def test_one_short_document_cannot_be_divided() -> None:
    with pytest.raises(DanluError, match="E1224"):
        split(Corpus.of([[1, 2, 3]]), 0.1)
