"""ELECTRA is trained as one model and kept as two: the detector in `model/`, the generator in `generator/`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.data.batch import Batch
from danlu.data.loader import Loader
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.language import LanguageModel, LanguageModelConfig
from danlu.nn.parameters import assign
from danlu.train.objectives import ReplacedObjective

GENERATOR = "generator"


def speaking(checkpoint: Checkpoint) -> Checkpoint:
    """The half that knows words: of most models, the whole."""
    model = checkpoint.model
    if isinstance(model, LanguageModel) and model.generator is not None:
        return replace(checkpoint, model=model.generator, config=model.generator.config)
    return checkpoint


def with_words(checkpoint: Checkpoint, device: torch.device) -> Checkpoint:
    """The same, or in the place of a detector the generator that lies beside it, if one does."""
    model = checkpoint.model
    detects = isinstance(model, LanguageModel) and model.detector is not None and model.generator is None
    beside = checkpoint.where.with_name(GENERATOR) if detects and checkpoint.where else None
    return Checkpoint.load(beside, device=device) if beside and beside.is_dir() else checkpoint


def detecting(checkpoint: Checkpoint) -> Checkpoint:
    """The half that is published for its tower: of most models, the whole. It shares the weights."""
    model = checkpoint.model
    if not isinstance(model, LanguageModel) or model.generator is None:
        return checkpoint
    config = model.config.model_copy(update={"generator": None})
    return replace(checkpoint, config=config, model=_assembled(config, {"": model}))


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """The model in its folder; a generator beside it, first: the folder of the model says that all is there."""
    if speaking(checkpoint) is not checkpoint:
        speaking(checkpoint).save(folder.with_name(GENERATOR))
    detecting(checkpoint).save(folder)


def joined(checkpoint: Checkpoint) -> Checkpoint:
    """A detector with the generator that lies beside it. E1509 where there is none."""
    detector = checkpoint.model
    assert isinstance(detector, LanguageModel)
    beside = checkpoint.where.with_name(GENERATOR) if checkpoint.where else Path(GENERATOR)
    if not beside.is_dir():
        raise DanluError("E1509", where=beside)
    generator = Checkpoint.load(beside).model
    assert isinstance(generator, LanguageModel)
    config = detector.config.model_copy(update={"generator": generator.config})
    return replace(checkpoint, config=config, model=_assembled(config, {"generator.": generator, "": detector}))


class Deceived:
    """A loader's batches with, as `judged`, what the detector reads of them before the first step."""

    def __init__(self, loader: Loader, checkpoint: Checkpoint):
        self.loader = loader
        generator = speaking(checkpoint).model
        assert isinstance(generator, LanguageModel)
        self.generator = generator.eval()

    @property
    def steps_per_epoch(self) -> int:
        return self.loader.steps_per_epoch

    @torch.no_grad()
    def batch(self, step: int) -> Batch:
        batch = self.loader.batch(step)
        inputs: Mapping[str, Any] = batch.inputs
        judged = ReplacedObjective.deceived(self.generator, self.generator.hidden(**inputs), batch)
        return Batch(dict(batch.inputs) | {"judged": judged}, batch.targets)


def _assembled(config: LanguageModelConfig, parts: dict[str, nn.Module]) -> LanguageModel:
    """A model of this config made of the weights of others, by the beginning of their names in it."""
    model = build(config, "meta")
    assert isinstance(model, LanguageModel)
    known = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for begin, part in parts.items():
        found = {begin + name: tensor for name, tensor in part.named_parameters(remove_duplicate=False)}
        assign(model, {name: tensor.detach() for name, tensor in found.items() if name in known})
    return model.eval()
