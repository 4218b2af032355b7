"""Sentence retrieval on vectors that can be checked by eye, and on models."""

from collections.abc import Callable

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.evaluate.retrieval import nearest, score_retrieval, vectors
from danlu.generate.engine import Engine
from danlu.models.build import build
from danlu.models.families import FAMILIES, fresh

TEXTS = ["the fox", "a lazy dog jumps", "over the quick brown fox", "dog", "jumps over a lazy fox. "]
PAIRS = [(text, text) for text in TEXTS]


@pytest.fixture
def xlm(engine_of: Callable[..., Engine]) -> Engine:
    """A model that tells two languages apart, each far from the other."""
    tokenizer = engine_of("bert").tokenizer
    config = fresh("xlm-tiny", tokenizer.vocabulary, width=32, length=32, languages=("de", "en"))[1]
    model = build(config).eval().requires_grad_(False)
    model.tower.embedding.languages.weight.copy_(torch.randn(2, 32) * 3)
    return Engine(Checkpoint(FAMILIES["xlm"], config, model, tokenizer))


def test_a_sentence_is_nearest_to_itself(engine_of: Callable[..., Engine]) -> None:
    for family in ("bert", "gpt2"):
        score = score_retrieval(engine_of(family), PAIRS)
        assert score.both.value == score.forth.value == score.back.value == 1.0
        assert score.both.low < 1.0, "five pairs are no proof"


def test_wrong_pairs_are_not_found(engine_of: Callable[..., Engine]) -> None:
    moved = list(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True))
    score = score_retrieval(engine_of("bert"), moved)
    assert score.both.value == 0.0
    assert list(score.hits) == [0.0] * 5


def test_the_two_directions_are_told_apart() -> None:
    first = torch.tensor([[1.0, 0.0], [0.9, 0.1]])
    second = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert nearest(first, second).tolist() == [0, 0]
    assert nearest(second, first).tolist() == [0, 1]


def test_each_layer_is_another(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of("bert")
    layers = [vectors(engine, TEXTS, layer) for layer in (0, 1, 2)]
    assert not torch.allclose(layers[0], layers[1])
    assert not torch.allclose(layers[1], layers[2])
    assert torch.allclose(vectors(engine, TEXTS), layers[1]), "two thirds of two layers, rounded"
    hidden = engine.model.hidden(torch.tensor([engine.tokenizer.frame(engine.tokenizer.encode(TEXTS[0]))]))
    assert torch.allclose(layers[2][0], hidden[0].mean(0), atol=1e-5)
    with pytest.raises(DanluError, match="E1814"):
        vectors(engine, TEXTS, 3)


def test_rows_of_other_lengths_change_nothing(engine_of: Callable[..., Engine]) -> None:
    engine = engine_of("bert")
    alone = torch.cat([vectors(engine, [text]) for text in TEXTS])
    assert torch.allclose(vectors(engine, TEXTS), alone, atol=1e-5)
    assert vectors(engine, ["a very lazy dog " * 20]).shape == (1, 32), "too long a sentence loses its end"


def test_languages_are_told_and_centring_forgets_them(xlm: Engine) -> None:
    told = score_retrieval(xlm, PAIRS, layer=0, languages=("de", "en"))
    centred = score_retrieval(xlm, PAIRS, layer=0, languages=("de", "en"), centred=True)
    assert centred.both.value == 1.0
    assert not torch.allclose(vectors(xlm, TEXTS, 0, "de"), vectors(xlm, TEXTS, 0, "en"))
    assert told.both.value <= centred.both.value
    with pytest.raises(DanluError, match="E1227"):
        score_retrieval(xlm, PAIRS, languages=("de", "fr"))


def test_one_pair_is_too_few(engine_of: Callable[..., Engine]) -> None:
    with pytest.raises(DanluError, match="E1813"):
        score_retrieval(engine_of("bert"), PAIRS[:1])
