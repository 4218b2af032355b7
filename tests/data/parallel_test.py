"""Translations: read from files and columns, never torn apart, each side with positions and a language of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.data.corpus import BETWEEN, Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.corruption.translation import sides_of
from danlu.data.division import Division, divide
from danlu.data.loader import Loader
from danlu.data.settings import DataSettings
from danlu.data.shards import Encoder
from danlu.errors import DanluError
from danlu.voice import Voice

Make = Callable[..., DataSettings]
Divided = Callable[..., Division]
Read = Callable[..., Corpus]
ENGLISH = [f"Line {number}: a dog runs over the grass." for number in range(40)]
GERMAN = [f"Zeile {number}: ein Hund rennt über die Wiese." for number in range(40)]
TLM, MLM = CorruptionSettings(kind="translation"), CorruptionSettings(kind="mask")
LANGUAGES = ("de", "en", "fr")
WORDS = {
    "bert": Words(261, {"pad": 0, "start": 1, "separator": 2, "end": 2, "mask": 3}, languages=LANGUAGES),
    "xlm": Words(261, {"pad": 0, "start": 2, "separator": 2, "end": 2, "mask": 3}, languages=LANGUAGES),
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name, lines in (("a.en", ENGLISH), ("a.de", GERMAN)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf8")
    return {"en": str(tmp_path / "a.en"), "de": str(tmp_path / "a.de")}


@pytest.fixture(params=["bert", "xlm"])
def words(request: pytest.FixtureRequest, letters: Encoder) -> Words:
    """Sides framed <s> … </s> by two tokens, or by one alike."""
    found = WORDS[request.param]
    letters.special = dict(found.special)  # type: ignore[misc]
    letters.fingerprint = request.param  # type: ignore[misc]
    return found


@pytest.fixture
def divided(letters: Encoder, voice: Voice, settings: Make) -> Divided:
    def made(*paths: Path, held_out: float = 0, **given: Any) -> Division:
        return divide(settings(*paths, held_out=held_out, **given), letters, voice)

    return made


@pytest.fixture
def read(divided: Divided) -> Read:
    """From files and settings to tokenised text."""
    return lambda *paths, **given: divided(*paths, **given).training


def test_sides_are_framed_as_if_alone(files: dict[str, str], words: Words, read: Read) -> None:
    corpus = read(parallel=files)
    assert corpus.documents == 40
    rows = pack(corpus, 200, TLM, words)
    packed = rows.take(np.arange(len(rows)))
    sides, places = sides_of(packed, words)
    seen = 0
    for row in range(len(rows)):
        for document in range(packed.documents[row].max() + 1):
            here = packed.documents[row] == document
            for side, lines in enumerate((ENGLISH, GERMAN)):
                own = here & (sides[row] == side)
                start, end = words.special["start"], words.special["end"]
                text = lines[seen].encode()
                assert packed.tokens[row][own].tolist() == [start, *(5 + byte for byte in text), end]
                assert places[row][own].tolist() == list(range(len(text) + 2))
                assert packed.languages is not None
                assert set(packed.languages[row][own]) == {words.languages.index(("en", "de")[side])}
            seen += 1
    assert seen == 40


def test_masks_on_both_sides_and_positions_in_the_batch(files: dict[str, str], words: Words, read: Read) -> None:
    corpus = read(parallel=files)
    loader = Loader(pack(corpus, 200, TLM, words), corruption(TLM, words), 8, seed=0)
    batch = loader.batch(0)
    packed = loader.rows.take(loader.samples(0)[1])
    sides, places = sides_of(packed, words)
    asked = batch.targets["tokens"].numpy() != -100
    assert (asked & (sides == 0)).any()
    assert (asked & (sides == 1)).any()
    assert np.array_equal(batch.inputs["positions"].numpy(), places)
    assert np.array_equal(batch.inputs["languages"].numpy(), packed.languages)
    seen = batch.inputs["documents"].numpy()
    assert np.array_equal(seen, packed.documents), "both sides are one document and see each other"


def test_columns_say_the_same_as_files(files: dict[str, str], tmp_path: Path, words: Words, read: Read) -> None:
    table = tmp_path / "pairs.tsv"
    rows = [
        "id\tdeutsch\tenglish",
        *(f"{at}\t{de}\t{en}" for at, (en, de) in enumerate(zip(ENGLISH, GERMAN, strict=True))),
    ]
    table.write_text("\n".join(rows), encoding="utf8")
    one = read(parallel=files)
    two = read(table, parallel={"en": "english", "de": "deutsch"})
    assert [two.document(at).tolist() for at in range(40)] == [one.document(at).tolist() for at in range(40)]
    with pytest.raises(DanluError, match="E1203"):
        read(table, parallel={"en": "english", "fr": "francais"})


def test_other_objectives_read_each_side_alone(files: dict[str, str], words: Words, read: Read) -> None:
    corpus = read(parallel=files)
    apart = corpus.apart()
    assert [side.languages for side in apart] == [("en",), ("de",)]
    for side, lines in zip(apart, (ENGLISH, GERMAN), strict=True):
        assert [bytes((side.document(at) - 5).tolist()).decode() for at in range(side.documents)] == lines
    packed = pack(corpus, 64, MLM, words).take([0, 1])
    assert packed.languages is not None
    assert BETWEEN not in packed.tokens


def test_a_pair_is_held_out_whole(files: dict[str, str], words: Words, divided: Divided) -> None:
    found = divided(parallel=files, held_out=0.3)
    assert found.validation is not None
    assert found.ledger.divided == 0
    assert found.training.documents + found.validation.documents == 40
    for side in (found.training, found.validation):
        assert all((side.document(at) == words.special["end"]).any() for at in range(side.documents))


def test_too_long_pairs_lose_their_end_and_no_row_is_shared(tmp_path: Path, read: Read) -> None:
    sides = {"en": "x" * 300 + "\nshort", "de": "y" * 300 + "\nkurz"}
    for name, text in sides.items():
        (tmp_path / name).write_text(text, encoding="utf8")
    corpus = read(parallel={name: str(tmp_path / name) for name in sides})
    rows = pack(corpus, 100, TLM, WORDS["bert"])
    assert len(rows) == 2
    assert rows.take([0]).valid.all()


def test_files_that_do_not_match_are_refused(files: dict[str, str], read: Read) -> None:
    path = Path(files["de"])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]), encoding="utf8")
    with pytest.raises(DanluError, match="E1228") as raised:
        read(parallel=files)
    assert "39" in raised.value.render("en")


def test_a_pair_without_one_side_is_dropped(files: dict[str, str], read: Read) -> None:
    path = Path(files["de"])
    path.write_text("\n".join([*GERMAN[:7], "", *GERMAN[8:]]), encoding="utf8")
    corpus = read(parallel=files)
    assert corpus.documents == 39
    assert [(each.reason, each.line) for each in corpus.ledger.details] == [("one side", 8)]


def test_translations_are_asked_for_where_there_are_none(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.txt").write_text("nothing but English " * 50, encoding="utf8")
    corpus = read(tmp_path / "a.txt")
    with pytest.raises(DanluError, match="E1231"):
        pack(corpus, 64, TLM, WORDS["bert"])


@pytest.mark.parametrize("weights", [{"a": -1.0}, {"a": 0.0, "b": 0.0}, {"a": float("1e-3"), "b": -2.0}])
def test_weights_that_draw_nothing_are_refused(weights: dict[str, float], tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.txt").write_text("some text " * 50, encoding="utf8")
    sources = {name: {"paths": str(tmp_path / "a.txt"), "weight": weights.get(name)} for name in ("a", "b")}
    if weights.get("b") is None:
        sources.pop("b")
    with pytest.raises(DanluError, match="E1229"):
        read(sources=sources)


def test_a_tiny_text_is_trained_on_whole(tmp_path: Path, letters: Encoder, settings: Make) -> None:
    heard: list[str] = []
    voice = Voice("en", quiet=True)
    voice.say = lambda en, zh: heard.append(en)  # type: ignore[method-assign]
    (tmp_path / "a.txt").write_text("a tiny text " * 250, encoding="utf8")
    found = divide(settings(tmp_path / "a.txt"), letters, voice)
    assert found.validation is None
    assert found.training.documents == 1
    assert any("too little text" in line for line in heard)
    with pytest.raises(DanluError, match="E1224"):
        divide(settings(tmp_path / "a.txt", held_out=0.1), letters, voice)
