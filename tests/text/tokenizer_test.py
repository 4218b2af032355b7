"""The tokenizer itself: pieces, frames, extending, invalid text, long text."""

import pickle
import time
from pathlib import Path

import pytest

from danlu.errors import DanluError
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

BERT = {"pad": "[PAD]", "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]", "separator": "[SEP]", "mask": "[MASK]"}
TEXT = "The cat sat on the mat. 今天天气很好，我们去公园。" * 20


def trained(kind: str, roles: dict[str, str]) -> Tokenizer:
    return train_tokenizer(iter([TEXT]), TokenizerSettings(kind=kind), roles, Voice(quiet=True))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return trained("wordpiece", BERT)


@pytest.fixture(scope="module")
def bytes_() -> Tokenizer:
    return trained("bpe", {"end": "<|endoftext|>"})


def test_chinese_comes_back_without_spaces(words: Tokenizer) -> None:
    assert words.decode(words.encode("今天，the cat 很好。")) == "今天，the cat 很好。"


def test_specials_in_text_and_in_decoding(words: Tokenizer) -> None:
    ids = words.frame(words.encode("the [MASK] sat"))
    assert words.pieces(ids) == ["[CLS]", "the", "[MASK]", "sat", "[SEP]"]
    assert words.decode(ids) == "the sat"
    assert words.decode(ids, specials=True) == "[CLS] the [MASK] sat [SEP]"


def test_pieces_are_readable(bytes_: Tokenizer) -> None:
    ids = bytes_.encode(" the 龘\n")
    pieces = bytes_.pieces([*ids, 10**6])
    assert pieces[0] == " the"
    assert pieces[-2:] == ["\n", "<1000000>"]
    assert "".join(pieces[2:-2]) == "<0xE9><0xBE><0x98>"  # no entry for this character: its bytes


def test_extending(words: Tokenizer) -> None:
    more = words.extend(["丹炉", "<tool>"])
    assert more.vocabulary == words.vocabulary + 2
    assert more.encode("丹炉 cat")[0] == words.vocabulary
    assert more.fingerprint != words.fingerprint
    assert words.id("丹炉") is None
    for tokens in (["cat"], [""], ["x", "x"]):
        with pytest.raises(DanluError, match="E1309"):
            words.extend(tokens)


def test_a_lone_surrogate_is_named(bytes_: Tokenizer) -> None:
    with pytest.raises(DanluError) as caught:
        bytes_.encode_many(["fine", "ab\ud800"])
    assert caught.value.code == "E1308"
    assert caught.value.found == "text 1, character 2: U+D800"


def test_worker_processes_get_an_equal_one(words: Tokenizer) -> None:
    again = pickle.loads(pickle.dumps(words))
    assert (again.fingerprint, again.special, again.encode(TEXT)) == (
        words.fingerprint,
        words.special,
        words.encode(TEXT),
    )


def test_reading_a_folder_without_its_config(words: Tokenizer, tmp_path: Path) -> None:
    words.write(tmp_path)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).unlink()
    assert Tokenizer.read(tmp_path).special == words.special


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "characters"])
def test_long_monotonous_text_takes_linear_time(kind: str) -> None:
    tokenizer = trained(kind, {"unknown": "<unk>"} | ({} if kind == "bpe" else BERT))
    seconds = []
    for size in (100_000, 400_000):
        start = time.perf_counter()
        tokenizer.encode("a" * size)
        seconds.append(time.perf_counter() - start)
    assert seconds[1] < 8 * seconds[0] + 0.2
