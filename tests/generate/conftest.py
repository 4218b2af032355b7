"""Tiny random models of several families, with every parameter perturbed so that their texts are varied."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from danlu.checkpoint import Checkpoint
from danlu.generate.engine import Engine
from danlu.models.build import Model, build
from danlu.models.families import FAMILIES, fresh
from danlu.models.weights import export
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

VOCABULARY = 97
TEXTS = (
    "The kettle sings, the cat sleeps by the stove, and the rain falls on the roof of the old house.",
    "A furnace needs patience: small coals, a slow wind, and someone who watches the colour of the flame.",
    "炉火要慢慢烧，水要慢慢煮，看火的人要有耐心。雨落在老房子的屋顶上，猫睡在炉边。",
)
SIZES: dict[str, dict[str, Any]] = {"gpt2": {"length": 40}}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def tiny(family: str, vocabulary: int = VOCABULARY) -> Model:
    config = fresh(f"{family}-tiny", vocabulary, width=32, **SIZES.get(family, {}))[1]
    model = build(config)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.25 * torch.randn(parameter.shape, generator=chance)
    return model.eval().requires_grad_(False)


@pytest.fixture
def model_of() -> Callable[[str], Model]:
    return tiny


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The same tiny model as a published folder, for transformers."""

    @cache
    def written(family: str) -> Path:
        folder = tmp_path_factory.mktemp(family)
        model = tiny(family)
        (folder / "config.json").write_text(json.dumps(FAMILIES[family].write(model.config)), encoding="utf8")
        tensors = {name: tensor.clone() for name, tensor in export(model, FAMILIES[family].table(model.config)).items()}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder

    return written


@cache
def small_engine(family: str) -> Engine:
    made = FAMILIES[family]
    settings = TokenizerSettings(kind=made.tokenizer, vocabulary=400)
    tokenizer = train_tokenizer(iter(TEXTS * 20), settings, made.specials, Voice("en", quiet=True))
    model = tiny(family, tokenizer.vocabulary)
    return Engine(Checkpoint(made, model.config, model, tokenizer))


@pytest.fixture(scope="session")
def engine_of() -> Callable[[str], Engine]:
    """A tiny random model with a tokenizer of its family's kind, trained on a few sentences."""
    return small_engine
