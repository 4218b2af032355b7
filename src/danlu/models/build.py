"""From settings to models: the only place where a config's class chooses a model's."""

from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import nn

from danlu.models.classifier import Classifier, ClassifierConfig
from danlu.models.language import LanguageModel, LanguageModelConfig
from danlu.models.sequence_to_sequence import SequenceToSequence, SequenceToSequenceConfig
from danlu.nn.initialize import initialize as draw
from danlu.nn.parameters import materialize, undrawn
from danlu.nn.transformer import Transformer, TransformerConfig

ModelConfig = Annotated[LanguageModelConfig | SequenceToSequenceConfig | ClassifierConfig, Field(discriminator="kind")]
Model = LanguageModel | SequenceToSequence | Classifier

MODELS: dict[str, type[LanguageModel] | type[SequenceToSequence] | type[Classifier]] = {
    "language": LanguageModel,
    "sequence_to_sequence": SequenceToSequence,
    "classifier": Classifier,
}
_ADAPTER: TypeAdapter[LanguageModelConfig | SequenceToSequenceConfig | ClassifierConfig] = TypeAdapter(ModelConfig)


def read_config(data: dict[str, Any]) -> LanguageModelConfig | SequenceToSequenceConfig | ClassifierConfig:
    """The config that a `model_dump(mode="json")` describes; pydantic's ValidationError where it is none."""
    return _ADAPTER.validate_python(data)


def build(config: ModelConfig, device: str | torch.device = "cpu", seed: int = 0) -> Model:
    """A fresh model: initialised by its config's scheme, or without any memory on the "meta" device."""
    with torch.device("meta"), undrawn():
        model = MODELS[config.kind](config)  # type: ignore[arg-type]
    if torch.device(device).type != "meta":
        materialize(model, device)
        initialize(model, config, seed)
    return model


def initialize(model: nn.Module, config: ModelConfig, seed: int = 0, only: list[str] | None = None) -> None:
    """Draw every weight afresh (or those named in `only`) as the family does it: the same seed, the same weights."""
    draw(model, config.initial, seed, only)


def parameters(config: ModelConfig) -> int:
    """How many numbers are learned; tied tensors count once. Counted on one layer, without any memory."""
    base = config.base if isinstance(config, ClassifierConfig) else config
    stacks = {name: stack for name, stack in base if isinstance(stack, TransformerConfig)}
    shallow = base.model_copy(update={name: stack.model_copy(update={"depth": 1}) for name, stack in stacks.items()})
    if isinstance(config, ClassifierConfig):
        shallow = config.model_copy(update={"base": shallow})
    model = build(shallow, "meta")
    towers = [module for module in model.modules() if isinstance(module, Transformer)]
    layers = zip(stacks.values(), towers, strict=False)  # a decoder may have been left out
    deeper = sum((stack.depth - 1) * _count(tower.blocks) for stack, tower in layers)
    return _count(model) + deeper


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def memory(config: ModelConfig, training: bool = False, bytes_each: int = 4) -> int:
    """Bytes of the weights or, for training with AdamW, of weights, gradients and two moments, all in float32.

    Activations come on top, and depend on the batch.
    """
    return parameters(config) * (16 if training else bytes_each)
