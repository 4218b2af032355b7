"""Our reading of SentencePiece files against the sentencepiece library itself.

A base letter, a combining mark and a modifier in one cluster are composed differently by the `tokenizers` library's
charsmap (transformers shares this); such clusters are not in the texts here.
"""

import io
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError
from danlu.text.sentencepiece import read_piece_model
from danlu.text.tokenizer import Tokenizer

spm: Any = pytest.importorskip("sentencepiece")


@pytest.mark.parametrize("file", ["t5_spiece.model", "chinese_llama_sp.model"])
def test_published_models(file: str, published: Path, odd_texts: list[str], world_texts: list[str]) -> None:
    theirs = spm.SentencePieceProcessor(model_file=str(published / file))
    ours = Tokenizer.read(published / file)
    texts = world_texts + odd_texts + ["a" * 3000]
    assert ours.encode_many(texts) == [theirs.encode(text) for text in texts]


@pytest.mark.parametrize(
    "options",
    [
        {"model_type": "bpe", "byte_fallback": True},
        {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "identity"},
        {"model_type": "bpe", "byte_fallback": True, "remove_extra_whitespaces": False,
         "normalization_rule_name": "identity", "allow_whitespace_only_pieces": True},
        {"model_type": "unigram", "add_dummy_prefix": False, "split_digits": True},
        {"model_type": "char"},
    ],
)  # fmt: skip
def test_models_of_every_kind(options: dict[str, Any], tmp_path: Path, odd_texts: list[str]) -> None:
    words = [*"你好世界", "the", "of", "and", "to", "in", "it", "was", "said", "that", "he", "could", "2020", "bring"]
    lines = [" ".join(words[(i * k) % len(words)] for k in range(1, 12)) + "，你好世界。" for i in range(1, 300)]
    stream = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=stream, vocab_size=330, hard_vocab_limit=False,
        minloglevel=2, **options,
    )  # fmt: skip
    path = tmp_path / "x.model"
    path.write_bytes(stream.getvalue())
    theirs = spm.SentencePieceProcessor(model_proto=stream.getvalue())
    ours = Tokenizer.read(path)
    texts = lines[:50] + odd_texts[:300]
    assert ours.encode_many(texts) == [theirs.encode(text) for text in texts]
    assert [ours.decode(ours.encode(line)) for line in lines[:50]] == [
        theirs.decode(theirs.encode(line)) for line in lines[:50]
    ]


@pytest.mark.parametrize("raw", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"PK\x03\x04", b"\x08" + b"\xff" * 20])
def test_what_is_no_model(raw: bytes) -> None:
    with pytest.raises(DanluError, match="E1302"):
        read_piece_model(raw, "x.model")
