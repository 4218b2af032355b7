"""Engines over tiny random models that know a token for each letter."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.generate.engine import Engine
from danlu.models.build import build
from danlu.models.families import FAMILIES, fresh
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

LETTERS = "the quick brown fox jumps over a lazy dog. "


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def letter_engine(family: str, length: int = 32) -> Engine:
    made = FAMILIES[family]
    settings = TokenizerSettings(kind="characters")
    tokenizer = train_tokenizer(iter([LETTERS]), settings, made.specials, Voice("en", quiet=True))
    config = fresh(f"{family}-tiny", tokenizer.vocabulary, width=32, length=length)[1]
    model = build(config).eval().requires_grad_(False)
    chance = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter += 0.2 * torch.randn(parameter.shape, generator=chance)
    return Engine(Checkpoint(made, config, model, tokenizer))


@pytest.fixture(scope="session")
def engine_of() -> Callable[..., Engine]:
    return letter_engine
