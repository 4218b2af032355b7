"""A smaller vocabulary: texts whose tokens stay are read as before, and the model says the same of them."""

import random

import pytest
import torch
from shrinking import stirred

from danlu.checkpoint import Checkpoint
from danlu.compress.vocabulary import chosen, counted, cut
from danlu.models.families import fresh
from danlu.text.pruning import pruned
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

TEXT = "the cat sat on a mat while seven old dogs slept under warm winter skies and nobody ever asked them why"
WORDS = TEXT.split()
FAMILIES = ("bert-tiny", "gpt2-tiny", "t5-tiny", "bart-tiny", "clip-tiny", "llama-tiny")


def texts(seed: int, words: list[str]) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=8)) for _ in range(60)]


def learnt(name: str) -> tuple[Tokenizer, list[str]]:
    family = fresh(name)[0]
    settings = TokenizerSettings(kind=family.tokenizer, vocabulary=160 if family.tokenizer == "wordpiece" else 320)
    quiet = Voice(quiet=True)
    tokenizer = train_tokenizer(
        iter(texts(0, WORDS)), settings, family.specials, quiet, frame=family.frame, extra=family.extra_tokens
    )  # fmt: skip
    return tokenizer, texts(1, WORDS[:9])


@pytest.mark.parametrize("name", FAMILIES)
def test_texts_of_kept_tokens_are_read_as_before(name: str) -> None:
    tokenizer, kept_texts = learnt(name)
    used = {token for row in tokenizer.encode_many(kept_texts) for token in row}
    smaller, order = pruned(tokenizer, used)
    assert smaller.vocabulary == len(order) < tokenizer.vocabulary
    for text in kept_texts:
        ours = smaller.encode(text)
        assert [order[token] for token in ours] == tokenizer.encode(text)
        assert smaller.decode(ours) == tokenizer.decode(tokenizer.encode(text))
    assert {role: order[at] for role, at in smaller.special.items()} == tokenizer.special
    assert [order[at] for at in smaller.prefix] == list(tokenizer.prefix)
    for text in texts(2, WORDS):  # other words are spelled
        assert smaller.decode(smaller.encode(text)).split() == text.split() or name == "bert-tiny"


@pytest.mark.parametrize("name", [each for each in FAMILIES if each != "clip-tiny"])
def test_logits_of_kept_tokens_stay(name: str, tmp_path: object) -> None:
    tokenizer, kept_texts = learnt(name)
    config = fresh(name, tokenizer.vocabulary)[1]
    model = stirred(config)
    ids = tokenizer.encode(kept_texts[0])
    used = {token for row in tokenizer.encode_many(kept_texts) for token in row}

    def inputs(row: list[int]) -> dict[str, torch.Tensor]:
        tokens = torch.tensor([row])
        return {"source": tokens, "target": tokens} if config.kind == "sequence_to_sequence" else {"tokens": tokens}

    with torch.no_grad():
        before = model(**inputs(ids))
        order = pruned(tokenizer, used)[1]
        smaller, own = cut(model, tokenizer, used)
        after = smaller(**inputs(own.encode(kept_texts[0])))
    torch.testing.assert_close(after, before[..., order], rtol=1e-4, atol=1e-4)
    assert smaller.config.vocabulary == len(order)
    if config.head.tied:
        assert smaller.head.output.weight.data_ptr() == next(
            each.weight.data_ptr() for each in smaller.modules()
            if isinstance(each, torch.nn.Embedding) and len(each.weight) == len(order)
        )  # fmt: skip


def test_it_is_saved_with_its_tokenizer(tmp_path: object) -> None:
    tokenizer, kept_texts = learnt("bert-tiny")
    family, config = fresh("bert-tiny", tokenizer.vocabulary)
    used = {token for row in tokenizer.encode_many(kept_texts) for token in row}
    model, smaller = cut(stirred(config), tokenizer, used)
    Checkpoint(family, model.config, model, smaller).save(f"{tmp_path}/model")
    again = Checkpoint.load(f"{tmp_path}/model")
    assert again.tokenizer is not None
    assert again.tokenizer.encode(kept_texts[0]) == smaller.encode(kept_texts[0])
    assert again.config.vocabulary == smaller.vocabulary


def test_the_most_frequent_are_chosen() -> None:
    counts = counted([{"tokens": torch.tensor([[5, 5, 7], [5, 9, 7]])}, {"source": torch.tensor([[2]])}])
    assert counts == {5: 3, 7: 2, 9: 1, 2: 1}
    assert chosen(counts, 100, 2, 0.5) == [5, 7]
    assert chosen(counts, 100, None, 0.5) == [5, 7, 2, 9]
