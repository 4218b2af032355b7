"""Heads put on a tower, and the unit in which one that gives numbers learns them."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.models.build import ModelConfig
from danlu.models.classifier import ClassifierConfig
from danlu.models.families import Family
from danlu.models.families.heads import answer_config, decodes
from danlu.recipes.preparing.material import Material
from danlu.tasks import Task
from danlu.tasks.answering import Work


def with_heads(
    family: Family, parts: Mapping[str, Material], config: ModelConfig, kept: bool = False
) -> ClassifierConfig:
    """A tower's config with a head for each task; a head that answers the same stays as it is. kept: so do all others
    that the model has."""
    own = config.heads if isinstance(config, ClassifierConfig) else {}
    heads = dict(own) if kept else {}
    for name, made in parts.items():
        assert isinstance(made.task, Task)
        head = answer_config(family, made.task.form, made.task.problem, made.labels)
        same = name in own and (own[name].labels, own[name].problem) == (head.labels, head.problem)
        heads[name] = own[name] if same else head
    if isinstance(config, ClassifierConfig):
        return config if heads == config.heads else config.model_copy(update={"heads": heads})
    read = any(decodes(family, head.form) for head in heads.values())
    return ClassifierConfig(base=config, heads=heads, decodes=read)


def to_units(checkpoint: Checkpoint, work: Work, unit: tuple[float, float]) -> Work:
    """Before training: numbers are learnt in units of their spread. A head that gives them in the rows' unit already
    goes on in these."""
    if work.task.problem != "number":
        return work
    output = _output(checkpoint.model, work.head)
    work = replace(work, shift=unit[0] if output.bias is not None else 0.0, scale=unit[1])
    if checkpoint.where is not None and f"heads.{work.head}.output.weight" not in checkpoint.loaded.fresh:
        _rescale(output, 1 / work.scale, -work.shift / work.scale)
    return work


def from_units(model: nn.Module, work: Work) -> Work:
    """After it: the head gives them in the rows' own unit. The task as the model does it now."""
    if work.task.problem == "number":
        _rescale(_output(model, work.head), work.scale, work.shift)
    return replace(work, shift=0.0, scale=1.0)


def _output(model: nn.Module, head: str) -> nn.Linear:
    output = model.get_submodule(f"heads.{head}.output")
    assert isinstance(output, nn.Linear)
    return output


@torch.no_grad()
def _rescale(output: nn.Linear, scale: float, shift: float) -> None:
    output.weight.mul_(scale)
    if output.bias is not None:
        output.bias.mul_(scale).add_(shift)
