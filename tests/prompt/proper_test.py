"""What is called a probability adds up to one over everything that could have been answered."""

from collections.abc import Callable
from itertools import product

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.prompt.notation import read_notation
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.prompt.spec import PromptSpec, Verbaliser
from danlu.prompt.template import Renderer
from danlu.prompt.worded import WordScorer
from danlu.tasks.task import Row
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

ScorerOf = Callable[[str], Scorer]
TEMPLATE = read_notation("{text} a {mask}")


def toy(name: str) -> WordScorer:
    """A model whose vocabulary is a few letters and its special tokens, so that every string can be tried."""
    family, _ = fresh(f"{name}-tiny")
    extra = family.extra_tokens[:3]
    tokenizer = train_tokenizer(
        iter(["a b c d"] * 4), TokenizerSettings(kind="characters", vocabulary=12 + len(extra)), family.specials,
        Voice(quiet=True), frame=family.frame, extra=extra,
    )  # fmt: skip
    family, config = fresh(f"{name}-tiny", tokenizer.vocabulary)
    scorer = scorer_for(Checkpoint(family, config, build(config, seed=5).eval(), tokenizer))
    assert isinstance(scorer, WordScorer)
    return scorer


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_all_strings_of_a_length_sum_to_one(family: str, length: int) -> None:
    scorer = toy(family)
    words = Verbaliser(words={"a": ("a",), "b": ("b",)})
    rendered = Renderer(TEMPLATE, words, scorer.spelling, 50).render([Row({"text": "c d"})])
    every = [[list(ids)] for ids in product(range(scorer.tokenizer.vocabulary), repeat=length)]
    with torch.inference_mode():
        total = scorer.answer(rendered, every, TEMPLATE, keep=False).double().exp().sum()
    assert len(every) > 5**length
    assert abs(float(total) - 1) < 1e-5


def test_words_of_a_class_are_put_together(scorer_of: ScorerOf, rows: list[Row]) -> None:
    scorer = scorer_of("gpt2")
    assert isinstance(scorer, WordScorer)
    words = {"a": ["great", "very good"], "b": ["bad"]}
    spec = PromptSpec(templates=("{text} It was {mask}",), verbaliser=Verbaliser(words=words))
    each = scorer.phrases(spec, rows).exp()
    wanted = {
        "mean": torch.stack([each[:, :2].mean(1), each[:, 2]], 1),
        "sum": torch.stack([each[:, :2].sum(1), each[:, 2]], 1),
        "max": torch.stack([each[:, :2].amax(1), each[:, 2]], 1),
    }  # fmt: skip
    for how, chances in wanted.items():
        found = scorer.scores(spec.but(verbaliser={"words": words, "together": how}), rows).exp()
        torch.testing.assert_close(found, chances / chances.sum(1, keepdim=True), atol=1e-5, rtol=1e-4)
    by_token = scorer.phrases(spec.but(verbaliser={"words": words, "each_token": True}), rows)
    counts = torch.tensor([len(scorer.spelling.word(" " + word)) for word in ("great", "very good", "bad")])
    torch.testing.assert_close(by_token, each.log() / counts, atol=1e-4, rtol=1e-4)


def test_templates_are_averaged(scorer_of: ScorerOf, rows: list[Row]) -> None:
    scorer = scorer_of("bert")
    one = PromptSpec(
        templates=("{text} It was {mask}.",), verbaliser=Verbaliser(words={"a": ("great",), "b": ("bad",)})
    )
    other = one.but(templates=["{mask}! {text}"])
    both = scorer.scores(one.but(templates=[*one.lines, *other.lines]), rows).exp()
    mean = (scorer.scores(one, rows).exp() + scorer.scores(other, rows).exp()) / 2
    torch.testing.assert_close(both, mean, atol=1e-5, rtol=1e-4)
