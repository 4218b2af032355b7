"""From settings to models: the only place where a config's class chooses a model's."""

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, cast

import torch
from pydantic import Field, TypeAdapter
from torch import nn

from danlu.models.classifier import Classifier, ClassifierConfig
from danlu.models.dual import DualConfig, DualEncoder
from danlu.models.language import LanguageModel, LanguageModelConfig
from danlu.models.multimodal import MultimodalConfig, MultimodalModel
from danlu.models.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from danlu.nn.initialize import initialize as draw
from danlu.nn.parameters import materialize, undrawn
from danlu.nn.transformer import Transformer, TransformerConfig
from danlu.settings import Settings

ModelConfig = Annotated[
    LanguageModelConfig | MultimodalConfig | SequenceToSequenceConfig | ClassifierConfig | DualConfig,
    Field(discriminator="kind"),
]
TextModel = LanguageModel | SequenceToSequence  # has a head over the vocabulary
Model = TextModel | Classifier | DualEncoder

MODELS: dict[str, type[nn.Module]] = {
    "language": LanguageModel,
    "multimodal": MultimodalModel,
    "sequence_to_sequence": SequenceToSequence,
    "classifier": Classifier,
    "dual": DualEncoder,
}
S = TypeVar("S", bound=Settings)
_ADAPTER: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def read_config(data: dict[str, Any]) -> ModelConfig:
    """The config that a `model_dump(mode="json")` describes; pydantic's ValidationError where it is none."""
    return _ADAPTER.validate_python(data)


def build(config: ModelConfig, device: str | torch.device = "cpu", seed: int = 0) -> Model:
    """A fresh model: initialised by its config's scheme, or without any memory on the "meta" device."""
    with torch.device("meta"), undrawn():
        model = cast(Model, MODELS[config.kind](config))
    if torch.device(device).type != "meta":
        materialize(model, device)
        initialize(model, config, seed)
    return model


def initialize(model: nn.Module, config: ModelConfig, seed: int = 0, only: list[str] | None = None) -> None:
    """Draw every weight afresh (or those named in `only`) as the family does it: the same seed, the same weights."""
    draw(model, config.initial, seed, only)


def parameters(config: ModelConfig) -> int:
    """How many numbers are learned; tied tensors count once. Counted on one layer, without any memory."""
    model = build(_shallow(config), "meta")
    towers = [module for module in model.modules() if isinstance(module, Transformer)]
    layers = zip(_stacks(config), towers, strict=False)  # a decoder may have been left out
    deeper = sum((stack.depth - 1) * _count(tower.blocks) for stack, tower in layers)
    return _count(model) + deeper


def _stacks(config: Settings) -> Iterator[TransformerConfig]:
    """Every transformer of a config, in order, wherever it stands."""
    for _, value in config:
        if isinstance(value, TransformerConfig):
            yield value
        elif isinstance(value, Settings):
            yield from _stacks(value)


def _shallow(config: S) -> S:
    """The same config with one layer in every transformer."""
    changes: dict[str, Settings] = {}
    for name, value in config:
        if isinstance(value, TransformerConfig):
            changes[name] = value.model_copy(update={"depth": 1})
        elif isinstance(value, Settings):
            changes[name] = _shallow(value)
    return config.model_copy(update=changes)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def memory(config: ModelConfig, training: bool = False, bytes_each: int = 4) -> int:
    """Bytes of the weights or, for training with AdamW, of weights, gradients and two moments, all in float32.

    Activations come on top, and depend on the batch.
    """
    return parameters(config) * (16 if training else bytes_each)
