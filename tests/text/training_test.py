"""Training: every setting has its effect, every kind its promise, and the same text gives the same tokenizer."""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import transformers

from danlu.errors import DanluError
from danlu.text.sample import take_sample
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

BERT = {"pad": "[PAD]", "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]", "separator": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"start": "<s>", "pad": "<pad>", "end": "</s>", "unknown": "<unk>", "separator": "</s>", "mask": "<mask>"}
GPT2 = {"start": "<|endoftext|>", "end": "<|endoftext|>"}
T5 = {"pad": "<pad>", "end": "</s>", "unknown": "<unk>"}
LLAMA = {"unknown": "<unk>", "start": "<s>", "end": "</s>"}
KINDS = [("wordpiece", BERT), ("bpe", GPT2), ("bpe", ROBERTA), ("unigram", T5), ("characters", GPT2)]
LINES = [
    "The quick brown fox jumps over the lazy dog, and the cat sat on the mat.\n",
    "今天天气很好，我们去公园散步。孔子说：“学而时习之，不亦说乎？”\n",
    "In 2024, 12 naïve users wrote 3,456 lines — see https://example.com/a_b.\n",
    "def f(x):\n    return x ** 2\n",
    "北京大学的学生们在图书馆学习自然语言处理。\n",
]


def train(specials: dict[str, str], texts: Iterator[str] | None = None, **settings: Any) -> Tokenizer:
    return train_tokenizer(texts or iter(LINES * 10), TokenizerSettings(**settings), specials, Voice(quiet=True))


@pytest.mark.parametrize(("kind", "roles"), KINDS)
def test_special_ids_come_first_in_the_order_given(kind: str, roles: dict[str, str]) -> None:
    tokenizer = train(roles, kind=kind)
    order = list(dict.fromkeys(roles.values()))
    assert {role: tokenizer.special[role] for role in roles} == {
        role: order.index(token) for role, token in roles.items()
    }


@pytest.mark.parametrize(("kind", "roles"), KINDS[1:])
def test_nothing_known_is_lost(kind: str, roles: dict[str, str]) -> None:
    tokenizer = train(roles, kind=kind)
    for line in [*LINES, "  leading", "trailing  ", "a  b", ""]:
        assert tokenizer.decode(tokenizer.encode(line)) == line


@pytest.mark.parametrize(("kind", "roles"), [KINDS[1], KINDS[3]])
def test_bytes_stand_in_for_unknown_characters(kind: str, roles: dict[str, str]) -> None:
    tokenizer = train(roles, kind=kind)
    strange = "龘 😀 Ω\tไทย"
    assert tokenizer.decode(tokenizer.encode(strange)) == strange


@pytest.mark.parametrize(("kind", "roles"), [KINDS[0], KINDS[4]])
def test_unknown_characters_are_marked(kind: str, roles: dict[str, str]) -> None:
    tokenizer = train(roles, kind=kind)
    assert tokenizer.encode("龘") == [tokenizer.special["unknown"]]


def test_wordpiece_sets_chinese_characters_apart() -> None:
    tokenizer = train(BERT, kind="wordpiece")
    assert tokenizer.pieces(tokenizer.encode("今天the很好。")) == ["今", "天", "the", "很", "好", "。"]


def test_frames_follow_the_roles() -> None:
    for kind, roles, expected in (
        ("wordpiece", BERT, "[CLS] x [SEP]"), ("bpe", ROBERTA, "<s> x </s>"), ("bpe", GPT2, "x"),
        ("unigram", T5, "x </s>"), ("bpe", LLAMA, "<s> x"),
    ):  # fmt: skip
        tokenizer = train(roles, kind=kind)
        framed = tokenizer.frame(tokenizer.encode("x"))
        assert " ".join(piece.strip() for piece in tokenizer.pieces(framed)).replace("  ", " ").strip() == expected, (
            roles
        )


@pytest.mark.parametrize(("kind", "roles"), KINDS)
def test_transformers_reads_what_is_written(kind: str, roles: dict[str, str], tmp_path: Path) -> None:
    tokenizer = train(roles, kind=kind)
    tokenizer.write(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for line in [*LINES, "龘 😀", "a <mask> b [MASK] c"]:
        assert theirs(line)["input_ids"] == tokenizer.frame(tokenizer.encode(line))
        assert theirs(line, add_special_tokens=False)["input_ids"] == Tokenizer.read(tmp_path).encode(line)
    pair = theirs("x", "x")
    between = 2 if kind == "bpe" and "separator" in roles else 1
    ids, x = tokenizer.frame([]), tokenizer.encode("x")
    if tokenizer.suffix:
        last = list(tokenizer.suffix)
        assert pair["input_ids"] == [*tokenizer.prefix, *x, *last * between, *x, *last], ids
    assert ("token_type_ids" in pair) == (kind == "wordpiece")


def test_each_setting_shows() -> None:
    assert train(GPT2, vocabulary=300).vocabulary == 300
    assert train(GPT2, kind="auto").fingerprint == train(GPT2, kind="bpe").fingerprint
    lower = train(BERT, kind="wordpiece", lowercase=True)
    assert lower.encode("THE Naïve") == lower.encode("the naive")
    assert train(BERT, kind="wordpiece").encode("The") != train(BERT, kind="wordpiece").encode("the")
    for kind, roles in KINDS[1:]:
        small = train(roles, kind=kind, lowercase=True)
        assert small.encode("THE 今天") == small.encode("the 今天"), kind
    apart, together = train(GPT2, pattern="qwen"), train(GPT2, pattern="gpt2")
    assert "2024" not in "|".join(apart.pieces(apart.encode("In 2024")))
    assert " 2024" in together.pieces(together.encode("In 2024"))
    assert apart.encode("e\u0301") == apart.encode("é")
    little = train(GPT2, iter(["abcdefgh " * 2000, "ijklmnop " * 2000]), kind="characters", sample=1_000)
    assert little.vocabulary < train(GPT2, iter(["abcdefgh " * 2000, "ijklmnop " * 2000]), kind="characters").vocabulary


def test_a_frame_and_extra_tokens_may_be_given() -> None:
    extra = [f"<extra_id_{index}>" for index in reversed(range(10))]
    settings = TokenizerSettings(kind="unigram")
    quiet = Voice(quiet=True)
    tokenizer = train_tokenizer(iter(LINES), settings, LLAMA, quiet, frame=(("start",), ("end", "end")), extra=extra)
    assert tokenizer.sentinels == tuple(range(tokenizer.vocabulary - 1, tokenizer.vocabulary - 11, -1))
    assert (tokenizer.prefix, tokenizer.suffix) == ((1,), (2, 2))


@pytest.mark.parametrize(("kind", "roles"), KINDS)
def test_a_vocabulary_is_never_exceeded(kind: str, roles: dict[str, str], shared: Path) -> None:
    with gzip.open(shared / "data/chinese_novels/xiyou_ji.txt.gz", "rt", encoding="utf8") as file:
        text = file.read(200_000)
    tokenizer = train(roles, iter([text]), kind=kind, vocabulary=1_000)
    assert 850 < tokenizer.vocabulary <= 1_000


def test_vocabulary_grows_with_the_text(shared: Path) -> None:
    text = (shared / "data/tinyshakespeare/input.txt").read_text("utf8")
    sizes = [train(GPT2, iter([text[:length]])).vocabulary for length in (3_000, 30_000, 300_000)]
    assert sizes == sorted(set(sizes))


def test_what_cannot_be_learnt() -> None:
    with pytest.raises(DanluError, match="E1305"):
        train(GPT2, iter(["", ""]))
    with pytest.raises(DanluError, match="E1306"):
        train(GPT2, vocabulary=200)


def test_a_long_stream_is_thinned_evenly_in_bounded_memory() -> None:
    sample = take_sample((f"{index:05d} " * 100 for index in range(20_000)), 100_000)
    assert sample.characters == sample.bytes == 20_000 * 600
    assert 50_000 < sum(map(len, sample.pieces)) <= 100_000
    numbers = [int(piece[:5]) for piece in sample.pieces]
    assert {later - earlier for earlier, later in pairwise(numbers)} == {128}
    novel = take_sample(["一行文字。\n" * 50_000], 10**6)
    assert "".join(novel.pieces) == "一行文字。\n" * 50_000
    assert max(map(len, novel.pieces)) <= 10_000


SCRIPT = """
import sys
from pathlib import Path
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice
text = Path(sys.argv[1]).read_text("utf8")
for kind in ("wordpiece", "bpe", "unigram", "characters"):
    settings = TokenizerSettings(kind=kind, vocabulary=600)
    roles = {"unknown": "<unk>", "start": "<s>", "end": "</s>"}
    print(train_tokenizer(iter(text.split("\\n\\n")), settings, roles, Voice(quiet=True)).fingerprint)
"""


def test_the_same_text_gives_the_same_tokenizer(tmp_path: Path, shared: Path) -> None:
    """Over processes with other hash seeds and thread counts."""
    text = (shared / "data/tinyshakespeare/input.txt").read_text("utf8")[:60_000]
    (tmp_path / "text.txt").write_text(text + "今天天气很好，我们去公园。\n\n" * 100, "utf8")
    prints = set()
    for seed, threads in (("0", "1"), ("1", "2"), ("2", "3")):
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "text.txt")], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads, "PATH": ""},
        )  # fmt: skip
        prints.add(run.stdout)
    assert len(prints) == 1
