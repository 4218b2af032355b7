"""Adapters in PEFT's own files: an adapter_config.json as plain data, and tensors by PEFT's names.

Where a published model keeps several of our layers as one (GPT-2's attention), their adapters become one: those with a
common A stay as they are, others stand as blocks beside each other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from danlu.adapt.changes import NAME, Addition, Ia3, PrefixTuning, PromptTuning, Thin
from danlu.adapt.layers import AdaptedLinear, LowRank, Scaling
from danlu.adapt.quantized import Base, dense
from danlu.adapt.soft import write_prefix, write_prompt
from danlu.adapt.targets import Linear, linear_layers, named
from danlu.errors import DanluError
from danlu.models.weights import Stored, Table

PREFIX = "base_model.model."
A, B, SIZE, FACTOR = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector", ".ia3_l"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class PeftFiles:
    """config: of adapter_config.json. tensors: of adapter_model.safetensors."""

    config: dict[str, Any]
    tensors: Tensors


@dataclass(frozen=True)
class Layer:
    """One layer of a published model, and the layers of ours that it is."""

    name: str
    parts: tuple[tuple[str, Linear], ...]  # path, layer; in the published order
    stored: Stored

    def adapters(self, name: str) -> list[nn.Module | None]:
        return [
            each.adapters[name] if isinstance(each, AdaptedLinear) and name in each.adapters else None
            for _, each in self.parts
        ]

    @property
    def bases(self) -> list[Base]:
        return [each.base if isinstance(each, AdaptedLinear) else each for _, each in self.parts]


def published_layers(model: nn.Module, table: Table) -> dict[str, Layer]:
    """Every linear layer that has a published name, by that name."""
    ours = linear_layers(model)
    found: dict[str, list[tuple[int, str, Stored]]] = {}
    for weight, theirs, stored in table.locate([f"{path}.weight" for path in ours if ".blocks." in path]):
        found.setdefault(theirs.removesuffix(".weight"), []).append(
            (stored.part, weight.removesuffix(".weight"), stored)
        )
    ordered = {name: sorted(parts, key=lambda part: part[0]) for name, parts in found.items()}
    return {
        name: Layer(name, tuple((path, ours[path]) for _, path, _ in parts), parts[0][2])
        for name, parts in ordered.items()
    }


def write(model: nn.Module, change: Addition, table: Table, base: str, task: str | None, name: str = NAME) -> PeftFiles:
    """An adapter as PEFT would have saved it. base: where PEFT finds the model below it. task: PEFT's word for what the
    model is for. E2013 where PEFT has no such adapter."""
    common = {"base_model_name_or_path": base, "task_type": task, "inference_mode": True}
    if isinstance(change, (PromptTuning, PrefixTuning)) and any(
        map(named(change.also, model), dict(model.named_parameters()))
    ):
        raise DanluError("E2013", found=f"{change.kind}, heads")  # PEFT reads other states under a classifier's head
    if isinstance(change, PromptTuning):
        return PeftFiles(*write_prompt(model, change, common, name))
    if isinstance(change, PrefixTuning):
        return PeftFiles(*write_prefix(model, change, common, name))
    writers: dict[type[Addition], Callable[..., tuple[dict[str, Any], Tensors]]] = {Thin: _write_lora, Ia3: _write_ia3}
    writer = next((found for kind, found in writers.items() if isinstance(change, kind)), None)
    if writer is None:
        raise DanluError("E2013", found=change.kind)
    layers = {each: layer for each, layer in published_layers(model, table).items() if any(layer.adapters(name))}
    config, tensors = writer(layers, change, name)
    also, modules = _write_also(model, change, table)
    shared: dict[str, Any] = {"target_modules": sorted(layers), "modules_to_save": modules or None}
    shared["fan_in_fan_out"] = any(layer.stored.transposed for layer in layers.values())
    return PeftFiles(common | shared | config, {PREFIX + each: tensor for each, tensor in (tensors | also).items()})


def _write_also(model: nn.Module, change: Addition, table: Table) -> tuple[Tensors, list[str]]:
    """Parts that trained as they are, and the names of their modules."""
    also = named(change.also, model)
    own = {each: parameter.detach() for each, parameter in model.named_parameters() if also(each)}
    found = {theirs: stored.write([own[each]]) for each, theirs, stored in table.locate(own)}
    return found, sorted({theirs.rpartition(".")[0] for theirs in found})


def _write_lora(layers: Mapping[str, Layer], change: Thin, name: str) -> tuple[dict[str, Any], Tensors]:
    tensors: Tensors = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for theirs, layer in layers.items():
        down, up, scale = _joined(layer, name)
        tensors |= {theirs + A: down, theirs + B: up}
        if change.decomposed:
            sizes = [part.size if isinstance(part, LowRank) else None for part in layer.adapters(name)]
            lengths = [
                dense(base).norm(dim=1) if size is None else size for size, base in zip(sizes, layer.bases, strict=True)
            ]
            tensors[theirs + SIZE] = torch.cat([each.detach() for each in lengths])
        rank = len(down)
        alpha = scale * (rank**0.5 if change.root else rank)
        if rank != change.rank or scale != change.scale:
            ranks[theirs], alphas[theirs] = rank, alpha
    alpha = change.scale * (change.rank**0.5 if change.root else change.rank)
    config = {
        "peft_type": "LORA", "r": change.rank, "lora_alpha": alpha, "lora_dropout": change.dropout, "bias": "none",
        "use_rslora": change.root, "use_dora": change.decomposed, "rank_pattern": ranks, "alpha_pattern": alphas,
        "init_lora_weights": True,
    }  # fmt: skip
    return config, tensors


def _joined(layer: Layer, name: str) -> tuple[Tensor, Tensor, float]:
    """A, B and scale of a published layer from those of its parts: blocks, unless all parts share one A."""
    parts, bases = layer.adapters(name), layer.bases
    there = [part for part in parts if isinstance(part, LowRank)]
    scale = there[0].scale
    ups = [part.up.detach() * (part.scale / scale) for part in there]
    if len(there) == len(parts) and all(torch.equal(part.down, there[0].down) for part in there):
        return there[0].down.detach(), torch.cat(ups), scale
    wide: Tensor = torch.block_diag(*ups)  # type: ignore[no-untyped-call]
    rows, whole = iter(torch.split(wide, [len(up) for up in ups])), []
    for part, base in zip(parts, bases, strict=True):
        whole.append(wide.new_zeros(base.out_features, wide.shape[1]) if part is None else next(rows))
    return torch.cat([part.down.detach() for part in there]), torch.cat(whole), scale


def _write_ia3(layers: Mapping[str, Layer], change: Ia3, name: str) -> tuple[dict[str, Any], Tensors]:
    tensors: Tensors = {}
    inputs = []
    for theirs, layer in layers.items():
        parts = layer.adapters(name)
        first = next(part for part in parts if isinstance(part, Scaling))
        if first.at == "input":
            inputs.append(theirs)
            tensors[theirs + FACTOR] = first.factor.detach()[None]
            continue
        factors = [
            part.factor.detach() if isinstance(part, Scaling) else torch.ones(base.out_features).to(first.factor)
            for part, base in zip(parts, layer.bases, strict=True)
        ]
        tensors[theirs + FACTOR] = torch.cat(factors)[:, None]
    return {"peft_type": "IA3", "feedforward_modules": sorted(inputs), "init_ia3_weights": True}, tensors
