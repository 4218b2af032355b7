import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import cross_entropy

from danlu.data.batch import IGNORED, Batch
from danlu.errors import DanluError
from danlu.evaluate.score import TokenScore, score_batches, score_texts
from danlu.generate.engine import Engine

EngineOf = Callable[..., Engine]
TEXTS = ["the quick fox", "a dog", "over the lazy dog. the quick brown fox jumps over a dog. ", ""]


def batch(rows: int = 6, length: int = 12, asked: float = 0.4) -> Batch:
    chance = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 20, (rows, length), generator=chance)
    targets = torch.where(torch.rand(rows, length, generator=chance) < asked, tokens.roll(1, 0), IGNORED)
    targets[-1] = IGNORED
    return Batch({"tokens": tokens}, {"tokens": targets})


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_batches_against_plain_cross_entropy(engine_of: EngineOf, family: str) -> None:
    model, whole = engine_of(family).model, batch()
    logits = model(whole.inputs["tokens"])
    score = score_batches(model, [whole])
    targets = whole.targets["tokens"]
    assert score.loss().value == pytest.approx(float(cross_entropy(logits.flatten(0, 1), targets.flatten())), rel=1e-5)
    right = (logits.argmax(-1) == targets).sum() / (targets != IGNORED).sum()
    assert score.accuracy().value == pytest.approx(float(right))
    assert score.perplexity().value == pytest.approx(math.exp(score.loss().value))
    assert len(score.losses) == 5, "a row that asks for nothing does not count"
    assert sum(score.targets) == whole.count("tokens")


def test_cutting_batches_changes_nothing(engine_of: EngineOf) -> None:
    model = engine_of("bert").model
    together, apart = score_batches(model, [batch()]), score_batches(model, batch().split(2))
    assert together.losses == pytest.approx(apart.losses, rel=1e-5)
    assert (together.targets, together.right) == (apart.targets, apart.right)


def test_an_encoder_decoder_is_scored_too(engine_of: EngineOf) -> None:
    model = engine_of("t5").model
    tokens = batch().inputs["tokens"]
    score = score_batches(model, [Batch({"source": tokens, "target": tokens}, {"tokens": tokens})])
    expected = cross_entropy(model(tokens, tokens).flatten(0, 1), tokens.flatten())
    assert score.loss().value == pytest.approx(float(expected), rel=1e-5)


def test_scoring_leaves_a_model_in_training(engine_of: EngineOf) -> None:
    model = engine_of("gpt2").model.train()
    score_batches(model, [batch()])
    assert model.training
    model.eval()


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(DanluError) as error:
        TokenScore().loss()
    assert error.value.code == "E1809"


def test_texts_that_fit_are_scored_as_wholes(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2", 128)
    score = score_texts(engine, TEXTS)
    assert score.losses == pytest.approx([-engine.score(text) for text in TEXTS[:3]], rel=1e-5)
    assert score.targets == [len(engine.tokenizer.encode(text)) for text in TEXTS[:3]]
    assert score.sizes == [len(text.encode()) for text in TEXTS[:3]]


def test_bits_per_byte_is_independent_of_the_tokens(engine_of: EngineOf) -> None:
    score = score_texts(engine_of("gpt2", 128), TEXTS)
    nats, size = sum(score.losses), sum(len(text.encode()) for text in TEXTS)
    found = score.bits_per_byte()
    assert found.value == pytest.approx(nats / math.log(2) / size)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(("window", "stride"), [(None, None), (16, 4), (16, 100), (7, 1)])
def test_a_window_asks_for_every_token_once_with_enough_before_it(
    engine_of: EngineOf, window: int | None, stride: int | None
) -> None:
    engine, text = engine_of("gpt2"), TEXTS[2]
    width = window or 32
    step = min(stride or width // 2, width - 1)
    row = [*engine.first, *engine.tokenizer.encode(text)]
    expected, done = 0.0, min(width + 1, len(row))
    expected -= float(engine.logits(torch.tensor([row[:width]]))[0].log_softmax(-1)[range(done - 1), row[1:done]].sum())
    while done < len(row):
        end = min(done + step, len(row))
        likely = engine.logits(torch.tensor([row[end - 1 - width : end - 1]]))[0].log_softmax(-1)
        expected -= float(likely[range(width - (end - done), width), row[done:end]].sum())
        done = end
    score = score_texts(engine, [text], window, stride)
    assert score.losses == pytest.approx([expected], rel=1e-4)
    assert score.targets == [len(row) - 1]


def test_more_text_before_a_token_changes_its_score(engine_of: EngineOf) -> None:
    losses = [score_texts(engine_of("gpt2"), TEXTS, 16, stride).loss().value for stride in (1, 15)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


def test_only_a_causal_model_scores_texts(engine_of: EngineOf) -> None:
    with pytest.raises(DanluError) as error:
        score_texts(engine_of("bert"), TEXTS)
    assert error.value.code == "E1802"


def test_bf16_is_near(engine_of: EngineOf) -> None:
    exact, rough = (score_texts(engine_of("gpt2", 128), TEXTS, bf16=bf16).loss().value for bf16 in (False, True))
    assert rough == pytest.approx(exact, rel=0.05)
    assert rough != exact


def test_blocks_of_one_text_have_a_spread_and_the_same_value(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2", 32)
    text = "the quick brown fox jumps over a lazy dog. " * 6
    whole, parts = score_texts(engine, [text]), score_texts(engine, [text], block=20)
    assert len(whole.losses) == 1
    assert len(parts.losses) == -(-whole.targets[0] // 20)
    assert sum(parts.losses) == pytest.approx(whole.losses[0], rel=1e-6)
    assert (sum(parts.targets), sum(parts.sizes)) == (whole.targets[0], len(text.encode()))
    assert not whole.loss().known
    assert parts.loss().low < parts.loss().value == pytest.approx(whole.loss().value)
