import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.errors import DanluError
from danlu.evaluate.pairs import Pair, read_pairs, score_pairs
from danlu.generate.engine import Engine
from danlu.voice import Voice

EngineOf = Callable[..., Engine]
QUIET = Voice("en", quiet=True)
BLIMP = Path(__file__).parents[2].parent / "shared/data/blimp/blimp.jsonl.gz"


def lines(count: int = 5) -> list[dict[str, str]]:
    return [
        {"sentence_good": f"good {at}", "sentence_bad": f"bad {at}", "UID": f"p{kind}", "linguistics_term": "agreement"}
        for kind in range(2)
        for at in range(count)
    ]


def written(path: Path, rows: list[dict[str, str]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_reading(tmp_path: Path, name: str) -> None:
    pairs = read_pairs(written(tmp_path / name, lines()))
    assert len(pairs) == 10
    assert pairs[0] == Pair("good 0", "bad 0", "p0", "agreement")


def test_a_limit_takes_pairs_of_every_paradigm_evenly(tmp_path: Path) -> None:
    pairs = read_pairs(written(tmp_path / "a.jsonl", lines(10)), limit=3)
    assert [(pair.paradigm, pair.good) for pair in pairs] == [
        (kind, f"good {at}") for kind in ("p0", "p1") for at in (0, 3, 6)
    ]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"sentence_good": "a", "sentence_bad": "b"}\n{"sentence_good": "a"}', ":2"),
        (b"not json", ":1"),
        (b'{"sentence_good": "a", "sentence_bad": 3}', ":1"),
        (b"[1]", ":1"),
        (b"", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_file_that_holds_no_pairs(tmp_path: Path, content: bytes, place: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(DanluError) as error:
        read_pairs(path)
    assert error.value.code == "E1810"
    assert str(error.value.where) == f"{path}{place}"


def test_a_torn_gz_is_an_error_of_ours(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl.gz", lines(200))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DanluError) as error:
        read_pairs(path)
    assert error.value.code == "E1810"


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_the_likelier_sentence_wins(engine_of: EngineOf, family: str) -> None:
    engine = engine_of(family)
    texts = ["the quick fox", "fox the quick", "a lazy dog", "dog lazy a", "the dog jumps", "jumps dog the"]
    scores = dict(zip(texts, engine.score(texts), strict=True))
    pairs = [
        Pair(*sorted(two, key=scores.__getitem__, reverse=True), "right")
        for two in zip(texts[::2], texts[1::2], strict=True)
    ]
    pairs += [Pair(pair.bad, pair.good, "wrong") for pair in pairs] + [Pair("a dog", "a dog", "tie")] * 2
    found = score_pairs(engine, pairs, QUIET)
    assert {name: interval.value for name, interval in found.paradigms.items()} == {"right": 1, "wrong": 0, "tie": 0.5}
    assert found.mean.value == pytest.approx(0.5)
    assert found.mean.count == 8


def test_every_paradigm_counts_the_same(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2")
    better, worse = sorted(["the quick fox", "fox the quick"], key=engine.score, reverse=True)
    pairs = [Pair(better, worse, "many", "group")] * 9 + [Pair(worse, better, "few", "group")]
    found = score_pairs(engine, pairs, QUIET)
    assert found.mean.value == found.groups["group"].value == 0.5
    assert set(found.plain()) == {"mean", "groups", "paradigms"}
    json.dumps(found.plain())


def test_an_encoder_decoder_is_refused(engine_of: EngineOf) -> None:
    with pytest.raises(DanluError) as error:
        score_pairs(engine_of("t5"), [Pair("a", "b", "p")], QUIET)
    assert error.value.code == "E1802"


@pytest.mark.skipif(not BLIMP.is_file(), reason="BLiMP is not here")
def test_blimp_has_67_paradigms_and_a_random_model_is_at_chance(engine_of: EngineOf) -> None:
    pairs = read_pairs(BLIMP, limit=4)
    found = score_pairs(engine_of("gpt2", 256), pairs, QUIET)
    assert len(found.paradigms) == 67
    assert len(found.groups) == 13
    assert 0.35 < found.mean.value < 0.65
    assert found.mean.high - found.mean.low < 0.2
