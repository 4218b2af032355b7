import errno
import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from danlu import files
from danlu.data import shards
from danlu.data.corpus import Corpus
from danlu.data.shards import prepare
from danlu.data.sources import DataSettings
from danlu.errors import DanluError
from danlu.voice import Voice

Make = Callable[..., DataSettings]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 2000)
    monkeypatch.setattr(shards, "BATCH_BYTES", 500)


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """200 documents of one word to several pieces, in several shards."""
    chance = random.Random(0)
    texts = ["".join(chance.choices("abc 好\n", k=chance.choice([3, 30, 300]))).strip() or "x" for _ in range(200)]
    texts[50] = "long " * 2000
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def expected(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def documents(corpus: Corpus, letters: Any) -> list[str]:
    return [letters.text(corpus.document(index)) for index in range(corpus.documents)]


def folder_of(settings: DataSettings) -> Path:
    (folder,) = (settings.cache_folder / "corpora").iterdir()
    return folder


def test_documents_come_back_exactly(corpus_file: Path, settings: Make, letters: Any, voice: Voice) -> None:
    corpus = prepare(settings(corpus_file), letters, voice)
    assert documents(corpus, letters) == expected(corpus_file)
    assert corpus.bytes == corpus.size == sum(len(text.encode()) for text in expected(corpus_file))
    assert corpus.ledger.trained == corpus.ledger.rows == 200
    assert len(corpus.tokens.parts) > 5
    assert corpus.tokens.parts[0].dtype == "uint16"


def test_a_large_vocabulary_takes_four_bytes(corpus_file: Path, settings: Make, letters: Any, voice: Voice) -> None:
    letters.vocabulary = 70_000
    assert prepare(settings(corpus_file), letters, voice).tokens.parts[0].dtype == "uint32"


def test_tokenised_once(corpus_file: Path, settings: Make, letters: Any, voice: Voice) -> None:
    prepare(settings(corpus_file), letters, voice)
    seen = letters.seen
    corpus = prepare(settings(corpus_file), letters, voice)
    assert letters.seen == seen
    assert documents(corpus, letters) == expected(corpus_file)


@pytest.mark.parametrize("change", ["content", "tokenizer", "settings"])
def test_the_key_knows_what_matters(change: str, corpus_file: Path, settings: Make, letters: Any, voice: Voice) -> None:
    prepare(settings(corpus_file), letters, voice)
    seen = letters.seen
    if change == "content":
        corpus_file.write_text(corpus_file.read_text().replace("a", "b", 1))
    if change == "tokenizer":
        letters.fingerprint = "another"
    prepare(settings(corpus_file, **({"text": "{text}"} if change == "settings" else {})), letters, voice)
    assert letters.seen == 2 * seen


def test_settings_that_do_not_matter_do_not(corpus_file: Path, settings: Make, letters: Any, voice: Voice) -> None:
    prepare(settings(corpus_file), letters, voice)
    seen = letters.seen
    prepare(settings(corpus_file, length=7, held_out=0.3), letters, voice)
    assert letters.seen == seen


def test_damaged_shards_are_found_and_made_anew(
    corpus_file: Path, settings: Make, letters: Any, voice: Voice, full: bool
) -> None:
    given = settings(corpus_file)
    good = documents(prepare(given, letters, voice), letters)
    chance = random.Random(1)
    for _ in range(300 if full else 15):
        path = chance.choice([each for each in sorted(folder_of(given).iterdir()) if each.name != "lock"])
        content = bytearray(path.read_bytes())
        match chance.choice(["flip", "cut", "empty", "gone", "longer"]):
            case "flip":
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            case "cut":
                del content[chance.randrange(len(content)) :]
            case "empty":
                content.clear()
            case "longer":
                content += b"\0"
            case "gone":
                path.unlink()
                content = bytearray()
        if path.exists():
            path.write_bytes(content)
        before = letters.seen
        corpus = prepare(given, letters, voice)
        assert documents(corpus, letters) == good
        assert corpus.ledger.trained == 200
        if path.name != "corpus.json":
            assert 0 < letters.seen - before < 100, "only what was damaged is done again"


def test_a_damaged_shard_is_named(corpus_file: Path, settings: Make, letters: Any, tmp_path: Path) -> None:
    given = settings(corpus_file)
    prepare(given, letters, Voice(quiet=True))
    path = sorted(folder_of(given).glob("00001-*"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with (tmp_path / "said").open("w") as stream:
        prepare(given, letters, Voice("en", stream))
    assert f"{path.name} is damaged" in (tmp_path / "said").read_text()


def points(given: DataSettings, letters: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every instant of a preparation at which a crash would matter."""
    met: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(files, "reached", met.append)
        prepare(given, letters, Voice(quiet=True))
    return met


def killed_at(number: int, given: DataSettings, letters: Any) -> None:
    """Prepare, and die at the given instant: for a process of its own."""
    count = 0

    def reached(point: str) -> None:
        nonlocal count
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    files.reached = reached
    prepare(given, letters, Voice(quiet=True))


def test_a_killed_preparation_leaves_no_half_shard(
    corpus_file: Path,
    settings: Make,
    letters: Any,
    voice: Voice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
) -> None:
    whole = settings(corpus_file).model_copy(update={"cache": tmp_path / "whole"})
    instants = points(whole, letters, monkeypatch)
    good = documents(prepare(whole, letters, voice), letters)
    total = letters.seen
    fork = multiprocessing.get_context("fork")
    chosen = range(len(instants)) if full else random.Random(2).sample(range(len(instants)), 12)
    for number in chosen:
        given = settings(corpus_file).model_copy(update={"cache": tmp_path / f"killed-{number}"})
        process = fork.Process(target=killed_at, args=(number, given, letters))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, instants[number]
        for path in folder_of(given).glob("*.safetensors"):
            assert shards._name(int(path.name[:5]), path.read_bytes()) == path.name
        finished = len(list(folder_of(given).glob("*.safetensors")))
        letters.seen = 0
        corpus = prepare(given, letters, voice)
        assert documents(corpus, letters) == good
        assert corpus.ledger.trained == 200
        if finished > 1:
            assert letters.seen < total, "finished shards are not done again"
        assert not [path.name for path in folder_of(given).iterdir() if files.TEMPORARY in path.name]


def test_a_full_disk_is_said(
    corpus_file: Path, settings: Make, letters: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(point: str) -> None:
        if "before fsync 0000" in point:
            raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(files, "reached", full_disk)
        with pytest.raises(DanluError, match="E1701"):
            prepare(settings(corpus_file), letters, voice)
    assert prepare(settings(corpus_file), letters, voice).documents == 200


def test_two_at_once_agree(corpus_file: Path, settings: Make, letters: Any, voice: Voice) -> None:
    given, fork = settings(corpus_file), multiprocessing.get_context("fork")
    processes = [fork.Process(target=prepare, args=(given, letters, Voice(quiet=True))) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert documents(prepare(given, letters, voice), letters) == expected(corpus_file)


def test_documents_that_leave_no_tokens(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    (tmp_path / "a.txt").write_text("one\nSKIP\ntwo\nSKIP")
    plain = letters.encode_many
    letters.encode_many = lambda texts: [[] if text == "SKIP" else plain([text])[0] for text in texts]
    corpus = prepare(settings(tmp_path / "a.txt", documents="lines"), letters, voice)
    assert documents(corpus, letters) == ["one", "two"]
    assert corpus.ledger.trained == 2
    assert [(each.reason, each.line) for each in corpus.ledger.details] == [("no tokens", 2), ("no tokens", 4)]


def test_no_text_at_all(tmp_path: Path, settings: Make, letters: Any, voice: Voice) -> None:
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(DanluError, match="E1211"):
        prepare(settings(tmp_path / "a.txt"), letters, voice)


def test_progress_is_shown(corpus_file: Path, settings: Make, letters: Any, tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as stream:
        prepare(settings(corpus_file), letters, Voice("en", stream))
    assert "tokenising  100%" in (tmp_path / "said").read_text()
