"""The price of a language in tokens, and Chinese words."""

import sys

import pytest

from danlu.errors import DanluError
from danlu.text.chinese import _segmenter, words
from danlu.text.fertility import compare
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

ENGLISH, CHINESE = "the cat sat on the mat. " * 600, "今天天气很好，我们去公园。" * 100


def test_rates() -> None:
    quiet, roles = Voice(quiet=True), {"unknown": "<unk>"}
    tokenizers = {
        kind: train_tokenizer(iter([ENGLISH]), TokenizerSettings(kind=kind), roles, quiet)
        for kind in ("characters", "bpe")
    }
    rows = {(row.tokenizer, row.text): row for row in compare(tokenizers, {"en": ENGLISH, "zh": CHINESE, "none": ""})}
    assert rows["characters", "en"].per_character == 1.0
    assert rows["characters", "zh"].unknown > 0.9
    assert rows["characters", "zh"].per_byte == pytest.approx(1 / 3)
    assert not rows["characters", "zh"].whole
    assert rows["bpe", "en"].per_character < 0.5
    assert rows["bpe", "zh"].per_byte == pytest.approx(1.0)
    assert rows["bpe", "zh"].unknown == 0.0
    assert rows["bpe", "zh"].whole
    assert (rows["bpe", "none"].per_character, rows["bpe", "none"].per_byte) == (0.0, 0.0)


def test_chinese_words() -> None:
    pytest.importorskip("jieba")
    text = "今天天气很好，我们去公园。"
    cut = words(text)
    assert "".join(cut) == text
    assert "公园" in cut


def test_without_a_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    _segmenter.cache_clear()
    monkeypatch.setitem(sys.modules, "jieba", None)
    monkeypatch.setattr("danlu.text.chinese.find_spec", lambda name: None)
    with pytest.raises(DanluError, match="E1307"):
        words("今天")
