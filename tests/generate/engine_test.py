from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.engine import Engine

EngineOf = Callable[[str], Engine]
STARTS = ["The cat", "炉火", "A furnace needs patience, and the rain", "The"]
CAUSAL = ["gpt2", "llama", "opt"]


@pytest.mark.parametrize("family", [*CAUSAL, "t5"])
def test_one_text_one_result_many_texts_many(engine_of: EngineOf, family: str) -> None:
    engine = engine_of(family)
    many = engine.generate(STARTS, max_new_tokens=10)
    assert many == [engine.generate(text, max_new_tokens=10) for text in STARTS]
    assert len(set(many)) > 1


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "seed": 5}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}]
)
def test_a_seed_repeats_and_a_stream_says_the_same(engine_of: EngineOf, settings: dict[str, float]) -> None:
    engine = engine_of("gpt2")
    text = engine.generate("The cat", max_new_tokens=20, **settings)
    assert text == engine.generate("The cat", max_new_tokens=20, **settings)
    pieces = list(engine.stream("The cat", max_new_tokens=20, **settings))
    assert "".join(pieces) == text
    assert len(pieces) > 3


def test_seeds_differ(engine_of: EngineOf) -> None:
    assert len({engine_of("gpt2").generate("The cat", temperature=1.0, seed=seed) for seed in range(4)}) > 1


def test_a_stream_never_shows_half_a_character(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of("gpt2")
    ids = engine.tokenizer.encode("鑫淼a")  # characters unknown to the tokenizer: a token a byte
    assert len(ids) == 7
    steps = iter([{0: token} for token in ids])
    monkeypatch.setattr("danlu.generate.engine.write", lambda *_: steps)
    assert list(engine.stream("The")) == ["鑫", "淼", "a"]


@pytest.mark.parametrize("family", CAUSAL)
def test_greedy_text_equals_transformers_from_the_same_folder(engine_of: EngineOf, tmp_path: Path, family: str) -> None:
    folder = engine_of(family).checkpoint.save(tmp_path / "model")
    engine = Engine(Checkpoint.load(folder))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text in STARTS:
        inputs = tokenizer(text, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        theirs = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0]
        whole = tokenizer.decode(theirs, skip_special_tokens=True)
        assert text + engine.generate(text, max_new_tokens=12) == whole


def test_beams_write_too(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2")
    texts = engine.generate(STARTS, beams=3, max_new_tokens=8)
    assert texts == [engine.generate(text, beams=3, max_new_tokens=8) for text in STARTS]
    assert texts != engine.generate(STARTS, max_new_tokens=8)


def test_an_empty_text_begins_anew(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2")
    assert engine.prompt("") == [engine.tokenizer.special["end"]]
    assert engine.generate("", max_new_tokens=5)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_fill_proposes_what_the_model_holds_likely(engine_of: EngineOf, family: str) -> None:
    engine = engine_of(family)
    mask = engine.tokenizer.roles["mask"]
    found = engine.fill(f"The {mask} sleeps by the {mask}.", top=4)
    assert [len(fills) for fills in found] == [4, 4]
    row = torch.tensor([engine.tokenizer.frame(engine.tokenizer.encode(f"The {mask} sleeps by the {mask}."))])
    for place, fills in zip((row[0] == engine.tokenizer.special["mask"]).nonzero()[:, 0], found, strict=True):
        best = engine.logits(row)[0, place].softmax(-1).topk(4)
        assert [fill.id for fill in fills] == best.indices.tolist()
        assert [fill.probability for fill in fills] == pytest.approx(best.values.tolist(), rel=1e-4)
        assert fills[0].token == engine.tokenizer.pieces([fills[0].id])[0].strip()
    typed = "[MASK]" if mask == "<mask>" else "<mask>"
    assert engine.fill([f"The {typed} sleeps by the {typed}."], top=4)[0] == found


@pytest.mark.parametrize("family", CAUSAL)
def test_score_is_the_sum_over_tokens(engine_of: EngineOf, family: str) -> None:
    engine = engine_of(family)
    ids = [*engine.first, *engine.tokenizer.encode(STARTS[2])]
    logits = engine.logits(torch.tensor([ids]))[0].log_softmax(-1)
    expected = sum(float(logits[place, token]) for place, token in enumerate(ids[1:]) if place + 1 >= len(engine.first))
    assert engine.score(STARTS[2]) == pytest.approx(expected, rel=1e-5)
    assert engine.score(STARTS) == pytest.approx([engine.score(text) for text in STARTS], rel=1e-5)


def test_pseudo_log_likelihood_masks_each_token_in_turn(engine_of: EngineOf) -> None:
    engine = engine_of("bert")
    row = engine.tokenizer.frame(engine.tokenizer.encode("the cat sleeps"))
    total = 0.0
    for place in range(1, len(row) - 1):
        masked = [*row[:place], engine.tokenizer.special["mask"], *row[place + 1 :]]
        total += float(engine.logits(torch.tensor([masked]))[0, place].log_softmax(-1)[row[place]])
    assert engine.score("the cat sleeps") == pytest.approx(total, rel=1e-5)


def test_an_encoder_decoder_scores_answers(engine_of: EngineOf) -> None:
    engine = engine_of("t5")
    alone = engine.score("The cat", sources="炉火")
    assert engine.score(["The cat", "The"], sources=["炉火", "The cat"])[0] == pytest.approx(alone, rel=1e-5)
    assert alone != engine.score("The cat", sources="The")


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_embeddings_have_length_one_and_ignore_padding(engine_of: EngineOf, family: str) -> None:
    engine = engine_of(family)
    vectors = engine.embed(STARTS)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(vectors, torch.stack([engine.embed(text) for text in STARTS]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(vectors[0], vectors[1], atol=1e-2)


def test_a_model_in_training_is_asked_without_dropout_and_trains_on(engine_of: EngineOf) -> None:
    engine = engine_of("gpt2")
    before = engine.generate("The cat"), engine.score("The cat")
    engine.model.train()
    assert (engine.generate("The cat"), engine.score("The cat")) == before
    assert engine.model.training
    engine.model.eval()


@pytest.mark.parametrize(
    ("family", "call", "code"),
    [
        ("bert", lambda engine: engine.generate("a"), "E1802"),
        ("gpt2", lambda engine: engine.fill("a [MASK]"), "E1807"),
        ("bert", lambda engine: engine.fill("no mask here"), "E1805"),
        ("gpt2", lambda engine: engine.generate("The cat sleeps " * 40), "E1803"),
        ("gpt2", lambda engine: engine.score("The cat sleeps " * 40), "E1803"),
        ("bert", lambda engine: engine.embed("The cat sleeps " * 80), "E1803"),
        ("bert", lambda engine: engine.fill("[MASK] " * 200), "E1803"),
        ("gpt2", lambda engine: engine.generate("a", temprature=1), "E1101"),
        ("gpt2", lambda engine: Engine(replace(engine.checkpoint, tokenizer=None)).generate("a"), "E1806"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(engine_of: EngineOf, family: str, call: Callable[[Engine], object], code: str) -> None:
    with pytest.raises(DanluError) as error:
        call(engine_of(family))
    assert error.value.code == code
    assert error.value.render("zh") != error.value.render("en")
