"""Reading adapters from PEFT's files."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.adapt.changes import Addition, Dora, Ia3, Lora, OnLinear, Thin
from danlu.adapt.peft import FACTOR, PREFIX, SIZE, A, B, Layer, PeftFiles, Tensors, published_layers
from danlu.adapt.soft import read_prefix, read_prompt
from danlu.adapt.targets import find_layers
from danlu.errors import DanluError
from danlu.models.weights import Table


def read(
    model: nn.Module, files: PeftFiles, table: Table, known: Addition | None = None, where: object = None
) -> tuple[Addition, Tensors]:
    """PEFT's files as a change to apply to the model, which has none yet, and the tensors to load into it then.

    known: the change, where we wrote the files ourselves. E2005 where the tensors are of another model, E2013 for what
    we cannot do.
    """
    config, kind = files.config, files.config.get("peft_type")
    tensors = {each.removeprefix(PREFIX): tensor for each, tensor in files.tensors.items()}
    if kind == "PROMPT_TUNING":
        return read_prompt(model, config, tensors, where)
    if kind == "PREFIX_TUNING":
        return read_prefix(model, config, tensors, where)
    readers = {"LORA": _read_lora, "IA3": _read_ia3}
    if kind not in readers or config.get("bias", "none") != "none":
        raise DanluError("E2013", where=where, found=f"{kind}, bias {config.get('bias')}", possible=list(readers))
    layers = published_layers(model, table)
    found: dict[str, dict[str, Tensor]] = {}
    rest: Tensors = {}
    for each, tensor in tensors.items():
        ending = next((ending for ending in (A, B, SIZE, FACTOR) if each.endswith(ending)), None)
        if ending is None:
            if ".lora_" in each or ".ia3_" in each:
                raise DanluError("E2013", where=where, found=each, possible=[A, B, SIZE, FACTOR])
            rest[each] = tensor
            continue
        path = each.removesuffix(ending)
        path = path if path in layers else table.prefix + path
        if path not in layers:
            raise DanluError("E2005", where=where, found=each, possible=next(iter(layers), None))
        found.setdefault(path, {})[ending] = tensor
    try:
        change, own = readers[kind]({layers[path]: parts for path, parts in found.items()}, config)
    except (KeyError, IndexError, RuntimeError) as error:
        raise DanluError("E2005", where=where, found=f"{type(error).__name__}: {error}") from error
    also, own_also = _read_also(model, rest, table, where)
    if known is not None:
        return known, _narrowed(model, known, own, layers) | own_also
    return change.model_copy(update={"also": also}), own | own_also


def _narrowed(model: nn.Module, known: Addition, own: Tensors, layers: Mapping[str, Layer]) -> Tensors:
    """The tensors of the layers that were adapted alone, out of those of published layers that hold several of ours."""
    assert isinstance(known, OnLinear)
    chosen = find_layers(model, known.words(model))
    narrow = {name: tensor for name, tensor in own.items() if name.rpartition(".")[0] in chosen}
    if not isinstance(known, Thin):
        return narrow
    for layer in layers.values():
        start = 0
        for path in (path for path, _ in layer.parts if path in chosen):
            rank, down, up = known.rank_of(path), own[f"{path}.down"], own[f"{path}.up"]
            if len(down) != rank:
                narrow |= {f"{path}.down": down[start : start + rank], f"{path}.up": up[:, start : start + rank]}
            start += rank
    return narrow


def _read_also(model: nn.Module, rest: Tensors, table: Table, where: object) -> tuple[tuple[str, ...], Tensors]:
    """Parts that trained as they are."""
    places = {
        theirs: (ours, stored) for ours, theirs, stored in table.locate([each for each, _ in model.named_parameters()])
    }
    own: Tensors = {}
    for each, tensor in rest.items():
        found = places.get(each) or places.get(table.prefix + each)
        if found is None:
            raise DanluError("E2005", where=where, found=each)
        if found[1].parts > 1:
            raise DanluError("E2013", where=where, found=each)
        own[found[0]] = found[1].read(tensor)
    return tuple(sorted({each.rpartition(".")[0] for each in own})), own


def _read_lora(found: Mapping[Layer, Mapping[str, Tensor]], config: Mapping[str, Any]) -> tuple[Addition, Tensors]:
    own: Tensors = {}
    ranks: dict[str, int] = {}
    scales: dict[str, float] = {}
    root, decomposed = bool(config.get("use_rslora")), bool(config.get("use_dora"))
    for layer, tensors in found.items():
        down, rank = tensors[A], len(tensors[A])
        alpha = _by_pattern(config.get("alpha_pattern"), layer.name, config["lora_alpha"])
        sizes = [base.out_features for base in layer.bases]
        pieces = torch.split(tensors[B], sizes)
        lengths = torch.split(tensors[SIZE], sizes) if decomposed else pieces
        for (path, _), up, size in zip(layer.parts, pieces, lengths, strict=True):
            ranks[path], scales[path] = rank, alpha / (rank**0.5 if root else rank)
            own |= {f"{path}.down": down, f"{path}.up": up} | ({f"{path}.size": size} if decomposed else {})
    usual = int(config["r"])
    scale = config["lora_alpha"] / (usual**0.5 if root else usual)
    settings = {
        "kind": "dora" if decomposed else "lora", "rank": usual, "alpha": config["lora_alpha"], "root": root,
        "dropout": config.get("lora_dropout", 0.0), "targets": tuple(ranks),
        "ranks": {path: rank for path, rank in ranks.items() if rank != usual},
        "scales": {path: each for path, each in scales.items() if each != scale},
    }  # fmt: skip
    return (Dora if decomposed else Lora).model_validate(settings), own


def _by_pattern(pattern: Mapping[str, Any] | None, name: str, usual: Any) -> Any:
    """PEFT's rule: the first key that the name ends with."""
    return next((value for key, value in (pattern or {}).items() if re.fullmatch(rf"(.*\.)?({key})", name)), usual)


def _read_ia3(found: Mapping[Layer, Mapping[str, Tensor]], config: Mapping[str, Any]) -> tuple[Addition, Tensors]:
    own: Tensors = {}
    inputs: list[str] = []
    for layer, tensors in found.items():
        factor = tensors[FACTOR]
        if factor.shape[0] == 1 and factor.shape[1] > 1:
            ((path, _),) = layer.parts
            inputs.append(path)
            own[f"{path}.factor"] = factor[0]
            continue
        pieces = torch.split(factor[:, 0], [base.out_features for base in layer.bases])
        own |= {f"{path}.factor": piece for (path, _), piece in zip(layer.parts, pieces, strict=True)}
    targets = tuple(each.removesuffix(".factor") for each in own)
    return Ia3(targets=targets, inputs=tuple(inputs)), own
