from collections.abc import Callable
from functools import cache

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.models.build import build
from danlu.models.dual import DualConfig
from danlu.models.eyes import default_processor
from danlu.models.families import fresh
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.tasks.task import Row
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

TEXTS = [
    "The film was great and the cast was wonderful.", "A terrible, boring film; the plot was bad.",
    "What a wonderful story! It was great fun.", "I was bored by a dull and terrible plot.",
    "这部电影很好看，演员也很好。", "剧情很差，非常无聊。", "Review: Sentiment: positive negative very good very bad",
] * 8  # fmt: skip
ScorerOf = Callable[[str], Scorer]


@cache
def checkpoint_of(name: str) -> Checkpoint:
    """A tiny model of a family with a tokenizer that knows the texts above; every weight is drawn, none is zero."""
    family, _ = fresh(f"{name}-tiny")
    tokenizer = train_tokenizer(
        iter(TEXTS), TokenizerSettings(kind="auto" if name != "llama" else "unigram", vocabulary=400), family.specials,
        Voice(quiet=True), frame=family.frame, extra=family.extra_tokens,
    )  # fmt: skip
    family, config = fresh(f"{name}-tiny", max(tokenizer.vocabulary, 400))
    if isinstance(config, DualConfig):
        config = config.model_copy(update={"end": tokenizer.special.get("end")})
    model = build(config, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    processor = default_processor(config) if isinstance(config, DualConfig) else None
    return Checkpoint(family, config, model.eval(), tokenizer, processor=processor)


@pytest.fixture
def scorer_of() -> ScorerOf:
    return lambda name: scorer_for(checkpoint_of(name))


@pytest.fixture
def rows() -> list[Row]:
    texts = ["A wonderful film.", "The plot was dull, and I was bored by the terrible cast", "很好看", "great"]
    return [Row({"text": text, "label": "x"}) for text in texts]
