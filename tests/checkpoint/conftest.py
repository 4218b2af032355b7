"""Small models, saved once."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.models.build import build
from danlu.models.families import FAMILIES, fresh
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

TEXT = ["The cat sat on the mat. 今天天气很好，我们去公园。"] * 10
SMALL = {"width": 32, "depth": 2, "heads": 2, "length": 64}


def small_tokenizer(name: str) -> Tokenizer:
    family = FAMILIES[name]
    return train_tokenizer(
        iter(TEXT), TokenizerSettings(kind=family.tokenizer), family.specials, Voice(quiet=True),
        frame=family.frame, extra=family.extra_tokens,
    )  # fmt: skip


def small_checkpoint(name: str, seed: int = 1) -> Checkpoint:
    """A fresh model of a family, every parameter disturbed, with a tokenizer of its own."""
    tokenizer = small_tokenizer(name)
    family, config = fresh(f"{name}-tiny", tokenizer.vocabulary, **SMALL)
    model = build(config, "cpu", seed=seed).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    return Checkpoint(family, config, model, tokenizer, {"from": "a test"})


@pytest.fixture(scope="session")
def make() -> Callable[..., Checkpoint]:
    return small_checkpoint


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT in a folder; tests that change it take a copy."""
    return small_checkpoint("bert").save(tmp_path_factory.mktemp("saved") / "bert")
