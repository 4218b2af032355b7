"""Tiny models, a few batches, a loss."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from danlu.data.batch import Batch
from danlu.models.build import Model, ModelConfig, build
from danlu.models.families import fresh

FAMILIES = ("bert-tiny", "gpt2-tiny", "llama-tiny", "palm-tiny", "opt-tiny", "qwen3-tiny", "t5-tiny", "bart-tiny")


def small(name: str, **words: Any) -> ModelConfig:
    """A tiny model with few tokens, so that everything is over at once."""
    return fresh(name, 96, **words)[1]


def stirred(config: ModelConfig, seed: int = 0) -> Model:
    """A model none of whose parameters is what it was drawn as."""
    model = build(config, seed=seed).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model


def given(config: ModelConfig, rows: int = 4, length: int = 12, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(config.vocabulary, (rows, length), generator=draw)
    if config.kind == "sequence_to_sequence":
        return {"source": tokens, "target": tokens.flip(1)}
    if config.kind == "dual":
        return {"tokens": tokens, "images": torch.rand(rows, config.channels, config.size, config.size, generator=draw)}
    return {"tokens": tokens}


def batches(config: ModelConfig, count: int = 3, **sizes: int) -> list[Batch]:
    found = []
    for seed in range(count):
        inputs = given(config, seed=seed, **sizes)
        found.append(Batch(inputs, {"tokens": inputs["target" if "target" in inputs else "tokens"]}))
    return found


def token_loss(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(**batch.inputs)
    return cross_entropy(logits.flatten(0, -2).float(), batch.targets["tokens"].flatten(), reduction="sum")
