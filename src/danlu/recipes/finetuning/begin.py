"""The model before its first step: read or fresh, with what the tasks need, and with what trains marked."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import ModelConfig, build
from danlu.models.classifier import ClassifierConfig
from danlu.recipes.finetuning.plan import Plan
from danlu.recipes.starting.adapting import adapted
from danlu.recipes.starting.start import chosen_tokenizer, fresh_tokenizer
from danlu.tasks.splits import TEXTS
from danlu.tasks.task import Row
from danlu.text.tokenizer import Tokenizer
from danlu.voice import Voice

ANSWERS = ("target", "output", "chosen", "rejected")  # roles whose texts a model writes


def begin(ready: Plan, voice: Voice) -> Checkpoint:
    """A tokenizer that knows more than the model's makes the model grow. E1911 where it is another one."""
    settings = ready.settings
    checkpoint = adapted(_first(ready, voice), settings.adapt, settings.seed, ready.start.name, voice)
    if not settings.embeddings and settings.adapt is None:
        # A small set of rows moves only the vectors of the words it has, away from their neighbours; and their
        # gradients and moments are most of a small model's.
        for name, parameter in checkpoint.model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and not name.endswith("embedding.tokens.weight"))
    return checkpoint


def _first(ready: Plan, voice: Voice) -> Checkpoint:
    settings, start = ready.settings, ready.start
    if start.where is None:
        tokenizer = _tokenizer(ready, voice)
        config = ready.become(start.with_vocabulary(tokenizer.vocabulary, settings.model))
        return Checkpoint(start.family, config, build(config, "cpu", settings.seed), tokenizer)
    checkpoint = Checkpoint.load(start.where, seed=settings.seed, become=ready.become)
    if settings.tokenizer.path is None:
        return checkpoint
    return with_more_tokens(checkpoint, Tokenizer.read(settings.tokenizer.path), settings.seed)


def _tokenizer(ready: Plan, voice: Voice) -> Tokenizer:
    """The one that was given, the one an interrupted run has kept, or a fresh one of the texts to train on."""
    choice, rows = ready.settings.tokenizer, [row for part in ready.parts.values() for row in part.made.training]
    said = _texts(rows, (*TEXTS, *ANSWERS) if ready.writes else TEXTS)
    family = ready.start.family
    return chosen_tokenizer(choice, ready.run.tokenizer, lambda: fresh_tokenizer(said, choice, family, voice))


def _texts(rows: Sequence[Row], roles: Sequence[str]) -> list[str]:
    values = [row.values[role] for row in rows for role in roles if row.values.get(role)]
    return [" ".join(map(_said, value)) if isinstance(value, list) else _said(value) for value in values]


def _said(value: Any) -> str:
    return str(getattr(value, "content", value))


def with_more_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer, seed: int) -> Checkpoint:
    """The model with a tokenizer that has the old one's tokens and perhaps more, whose vectors begin at the mean of
    all. E1911 where it is another tokenizer."""
    old, config = checkpoint.tokenizer, checkpoint.config
    known = range(old.vocabulary if old else 0)
    if old and old.pieces(known) != tokenizer.pieces(known):
        raise DanluError("E1911", where=checkpoint.where)
    more = tokenizer.vocabulary - config.vocabulary
    if more <= 0:
        return replace(checkpoint, tokenizer=tokenizer)
    grown = _grown(config, tokenizer.vocabulary)
    model = build(grown, "cpu", seed)
    tensors = dict(checkpoint.model.state_dict())
    for name, wanted in model.state_dict().items():
        if wanted.shape != tensors[name].shape:
            mean = tensors[name].mean(0, keepdim=True)
            tensors[name] = torch.cat([tensors[name], mean.expand(more, *mean.shape[1:])])
    model.load_state_dict(tensors)
    return replace(checkpoint, config=grown, model=model, tokenizer=tokenizer)


def _grown(config: Any, vocabulary: int) -> ModelConfig:
    if isinstance(config, ClassifierConfig):
        return config.model_copy(update={"base": _grown(config.base, vocabulary)})
    embedding = config.embedding.model_copy(update={"vocabulary": vocabulary})
    grown: ModelConfig = config.model_copy(update={"embedding": embedding})
    return grown
