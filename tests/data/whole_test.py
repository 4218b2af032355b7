"""From files to batches with real tokenizers: nothing lost, nothing changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from danlu.data.batch import IGNORED
from danlu.data.builtin import samples
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.division import divide
from danlu.data.documents import PIECE
from danlu.data.loader import Loader
from danlu.data.shards import prepare
from danlu.data.sources import DataSettings
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

SHARED = Path(__file__).parents[2].parent / "shared"
BERT = {"pad": "[PAD]", "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]", "separator": "[SEP]", "mask": "[MASK]"}
GPT2 = {"start": "<|endoftext|>", "end": "<|endoftext|>"}
KINDS: dict[str, tuple[str, dict[str, str]]] = {"mask": ("wordpiece", BERT), "shift": ("bpe", GPT2)}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(kind: str) -> Tokenizer:
    name, roles = KINDS[kind]
    texts = (row[side] for row in samples("bilingual") for side in ("en", "zh"))
    return train_tokenizer(texts, TokenizerSettings(kind=name, vocabulary=1500), roles, Voice(quiet=True))


def test_every_token_of_an_epoch_is_where_it_belongs(
    kind: str, tokenizer: Tokenizer, settings: Callable[..., DataSettings], voice: Voice
) -> None:
    found = divide(settings("builtin:bilingual", held_out=0.1), tokenizer, voice)
    words = Words(tokenizer.vocabulary, tokenizer.special)
    corruption_settings = CorruptionSettings(kind=kind)
    rows = pack(found.training, 64, corruption_settings, words)
    loader = Loader(rows, corruption(corruption_settings, words), len(rows), seed=3)
    (epochs, numbers), batch = loader.samples(0), loader.batch(0)
    assert not epochs.any()
    back = np.argsort(numbers)
    inputs, targets = batch.inputs["tokens"][back], batch.targets["tokens"][back]
    if kind == "mask":
        inputs = torch.where(targets != IGNORED, targets, inputs)
    given = [found.training.document(index).tolist() for index in range(found.training.documents)]
    special = set(tokenizer.special.values())
    assert [token for token in inputs.flatten().tolist() if token not in special] == [
        token for document in given for token in document if token not in special
    ]
    if kind == "shift":
        assert batch.count("tokens") >= sum(map(len, given)), "every token of the text is asked for once"
        texts = {f"{row['en']}\n{row['zh']}" for row in samples("bilingual")}
        assert {tokenizer.decode(document) for document in given} < texts
    assert found.ledger.rows == len(samples("bilingual"))


def test_cutting_long_documents_changes_no_token(
    tokenizer: Tokenizer, tmp_path: Path, settings: Callable[..., DataSettings], voice: Voice
) -> None:
    text = "\n\n".join(f"{row['en']} {row['zh']}\n  {row['en']}" for row in samples("bilingual") * 3)
    assert len(text) > 20 * PIECE
    (tmp_path / "book.txt").write_text(text)
    corpus = prepare(settings(tmp_path / "book.txt", documents="file"), tokenizer, voice)
    assert len(corpus.pieces) > 20
    assert corpus.document(0).tolist() == tokenizer.encode(text)
    assert corpus.bytes == len(text.encode())


@pytest.mark.skipif(not SHARED.exists(), reason="no shared data beside the project")
@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("tinyshakespeare/input.txt", {}),
        ("chinese_novels/xiyou_ji.txt.gz", {}),
        ("sst2/dev.tsv", {}),
        ("dialogsum/dev.jsonl", {"text": "dialogue"}),
        ("e2e_nlg/dev.csv.gz", {"text": "{mr} => {ref}"}),
        ("udhr", {"documents": "paragraphs"}),
    ],
)
def test_real_files(
    name: str, given: dict[str, str], tokenizer: Tokenizer, settings: Callable[..., DataSettings], voice: Voice
) -> None:
    found = divide(settings(SHARED / "data" / name, **given), tokenizer, voice)
    assert found.validation is not None
    assert found.training.size > 5 * found.validation.size > 0
    assert found.ledger.dropped.total() <= 0.01 * found.ledger.rows
