"""What is left out before training: every document in the ledger with its reason, its place and what it repeats."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from danlu.data.division import divide
from danlu.data.settings import DataSettings
from danlu.data.shards import Encoder
from danlu.data.sifting import EVERYTHING, sift
from danlu.data.texts import texts
from danlu.errors import DanluError
from danlu.voice import Voice

Make = Callable[..., DataSettings]
GOOD = [
    f"Document {number} speaks of {topic}, at some length and in words that no other document of this file has used."
    for number, topic in enumerate(["rivers", "mountains", "bridges", "clocks", "violins", "harbours", "orchards"])
]


def write(folder: Path, name: str, lines: list[str]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf8")
    return path


def test_duplicates_go_into_the_ledger(tmp_path: Path, settings: Make, letters: Encoder, voice: Voice) -> None:
    lines = [*GOOD, GOOD[2].upper(), GOOD[4] + " Indeed so.", "short"]
    given = settings(
        write(tmp_path, "a.jsonl", lines), deduplicate={"kind": "near", "words": 2, "similarity": 0.7},
        filters={"characters": 20}, held_out=0,
    )  # fmt: skip
    found = divide(given, letters, voice)
    assert found.training.documents == len(GOOD)
    ledger = found.ledger.to_json()
    assert ledger["read"] == len(lines)
    assert ledger["dropped"] == {"duplicate": 1, "near duplicate": 1, "too short": 1}
    path = str(tmp_path / "a.jsonl")
    details = {row["reason"]: row for row in ledger["details"]}
    assert details["duplicate"] == {"reason": "duplicate", "file": path, "line": 8, "like": f"{path}:3"}
    assert details["near duplicate"]["like"] == f"{path}:5"
    assert details["too short"] == {"reason": "too short", "file": path, "line": 10}


def test_duplicates_are_found_over_all_sources(tmp_path: Path, settings: Make, letters: Encoder, voice: Voice) -> None:
    one, two = write(tmp_path, "one.jsonl", GOOD[:4]), write(tmp_path, "two.jsonl", GOOD[3:])
    given = settings(sources={"one": str(one), "two": str(two)}, deduplicate="exact", held_out=0)
    found = divide(given, letters, voice)
    assert [part.documents for part in found.training.parts] == [4, 3]
    assert found.ledger.details[0].like == f"{one}:4"
    assert found.ledger.details[0].file == str(two)


def test_test_text_is_found_and_named(tmp_path: Path, settings: Make, letters: Encoder, voice: Voice) -> None:
    secret = "the quick brown fox jumps over the lazy dog while seven wizards brew coffee at dawn"
    short = "Two roads diverged in a yellow wood"
    test = tmp_path / "test.tsv"
    test.write_text(
        f"sentence\tlabel\nsomething else entirely that is here\t0\n{secret}\t1\n{short}\t1\n", encoding="utf8"
    )
    lines = [*GOOD, f"It is said that {secret.upper()}!", f"A heading\n{short},\nand then more", "Two roads diverged."]
    given = settings(write(tmp_path, "a.jsonl", lines), decontaminate=str(test), held_out=0)
    found = divide(given, letters, voice)
    assert found.ledger.dropped == {"test text": 2}
    assert [(each.line, each.like) for each in found.ledger.details] == [(8, f"{test}:3"), (9, f"{test}:4")]


def test_the_tokenizer_is_not_shown_what_is_left_out(tmp_path: Path, settings: Make, voice: Voice) -> None:
    given = settings(write(tmp_path, "a.jsonl", [*GOOD, *GOOD[:3]]), deduplicate="exact")
    assert list(texts(given, voice)) == GOOD


def test_verdicts_are_kept_and_used_again(tmp_path: Path, settings: Make, voice: Voice) -> None:
    given = settings(write(tmp_path, "a.jsonl", [*GOOD, GOOD[0]]), deduplicate="exact")
    first = sift(given, voice)
    kept = given.cache_folder / "sieves" / first.key
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    second = sift(given, voice)
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert second.verdicts[""].tolist() == first.verdicts[""].tolist() == [0] * 7 + [first.verdicts[""][-1]]
    (kept / "like.json").write_text("{", encoding="utf8")  # damaged: made anew
    assert sift(given, voice).verdicts[""].tolist() == first.verdicts[""].tolist()


def test_nothing_is_judged_where_nothing_is_asked(settings: Make, voice: Voice) -> None:
    assert sift(settings("no such file"), voice) is EVERYTHING


def test_judged_documents_are_lines(tmp_path: Path, settings: Make, letters: Encoder, voice: Voice) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\n".join([*GOOD, GOOD[1]]), encoding="utf8")
    whole = divide(settings(path, held_out=0), letters, voice)
    assert whole.training.documents == 1
    judged = divide(settings(path, held_out=0, deduplicate="exact"), letters, voice)
    assert judged.training.documents == len(GOOD)


def test_a_source_may_have_its_own_filters(tmp_path: Path, settings: Make, letters: Encoder, voice: Voice) -> None:
    chinese = [
        "这是一段足够长的中文文本，用来检查文字是否相符。" * 2,
        "This line is English in a Chinese source, so it goes away.",
    ]
    sources = {
        "en": {"paths": [str(write(tmp_path, "en.jsonl", [*GOOD, "tiny"]))], "language": "en"},
        "zh": {"paths": [str(write(tmp_path, "zh.jsonl", chinese))], "language": "zh", "filters": {"script": 0.5}},
    }
    found = divide(settings(sources=sources, filters={"characters": 10}, held_out=0), letters, voice)
    assert found.ledger.dropped == {"too short": 1, "another script": 1}


@pytest.mark.parametrize("kind", ["exact", "near"])
def test_no_text_left_is_refused(kind: str, tmp_path: Path, settings: Make, letters: Encoder, voice: Voice) -> None:
    given = settings(write(tmp_path, "a.jsonl", ["abc", "abc"]), deduplicate=kind, filters={"characters": 99})
    with pytest.raises(DanluError, match="E1211"):
        divide(given, letters, voice)
