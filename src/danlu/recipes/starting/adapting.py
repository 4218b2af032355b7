"""What a run trains of the model it starts from: the change that was asked for, and what is said of it."""

from collections.abc import Mapping
from typing import Any

import torch

from danlu.adapt import Addition, Part, Trained, read_change, room, trained, virtual_tokens
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import ModelConfig, build
from danlu.recipes.runs.machine import size_in_words
from danlu.voice import Voice


def adapted(
    checkpoint: Checkpoint, change: Part | Addition | None, seed: int, start: str, voice: Voice, length: int = 1
) -> Checkpoint:
    """The checkpoint with what trains marked, and added. Without a change all of it trains; of one that is adapted
    already, its adapter goes on. A further change is made to the merged model: E2007 where it cannot be merged. E2008
    where virtual tokens leave less than `length` for text."""
    if change is None:
        if checkpoint.adapted:
            checkpoint.adapted.change.mark(checkpoint.model, checkpoint.adapted.name)
            say_trained(voice, trained(checkpoint.model), checkpoint.adapted.change)
        return checkpoint
    checkpoint = checkpoint.merged() if checkpoint.adapted else checkpoint
    if checkpoint.where is None and change.kind != "full":
        voice.say(
            f"this model is fresh: with adapt={change.kind}, what does not train stays as it was drawn",
            f"这是全新的模型：使用 adapt={change.kind} 时，不训练的部分会保持随机初值",
        )
    checkpoint = checkpoint.changed(change, seed, start)
    if (left := room(checkpoint.model)) is not None and left < length:
        raise DanluError("E2008", found=virtual_tokens(checkpoint.model), possible=checkpoint.config.length)
    if change.kind != "full":
        say_trained(voice, trained(checkpoint.model), change)
    return checkpoint


def rates(checkpoint: Checkpoint) -> Mapping[str, float]:
    """Parameters whose learning rate differs from the run's, and by how much."""
    return checkpoint.adapted.change.rates(checkpoint.model) if checkpoint.adapted else {}


def faster(asked: Any) -> float:
    """By how much a learning rate for a whole model may be multiplied where only what `adapt` says trains."""
    return 1.0 if asked is None else read_change(asked).rate


def foreseen(config: ModelConfig, change: Part | Addition) -> Trained:
    """What would train, without a model. Errors of the change."""
    with torch.device("meta"):
        model = build(config, "meta")
    change.apply(model)
    return trained(model)


def say_trained(voice: Voice, counted: Trained, change: Part | Addition) -> None:
    """How much trains, and what it takes."""
    memory = size_in_words(counted.memory)
    voice.say(
        f"{change.kind}: {counted.trains:,} of {counted.all:,} parameters train ({counted.share:.2%}); "
        f"weights, gradients and optimiser take {memory}",
        f"{change.kind}：训练 {counted.all:,} 个参数中的 {counted.trains:,} 个（{counted.share:.2%}）；"
        f"权重、梯度与优化器共占 {memory}",
    )
