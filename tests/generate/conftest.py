"""Tiny random models of several families, with every parameter perturbed so that their texts are varied."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from danlu.models.build import Model, build
from danlu.models.families import FAMILIES, fresh
from danlu.models.weights import export

VOCABULARY = 97
SIZES: dict[str, dict[str, Any]] = {"gpt2": {"length": 40}}


@cache
def tiny(family: str) -> Model:
    config = fresh(f"{family}-tiny", VOCABULARY, width=32, **SIZES.get(family, {}))[1]
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
