"""Prefixes and prompts in PEFT's form: one matrix, a row a virtual token."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.adapt.changes import Addition, PrefixTuning, PromptTuning
from danlu.errors import DanluError
from danlu.models.language import Tower
from danlu.nn.adapters import Prefix, Prefixes, Prompt, Prompts
from danlu.nn.attention import Attention

ROWS = "prompt_embeddings"


def write_prompt(
    model: nn.Module, change: PromptTuning, common: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tower, prompt = _first_tower(model), None
    if isinstance(tower.embedding.prompts, Prompts):
        prompt = tower.embedding.prompts.adapters[name]
    assert isinstance(prompt, Prompt)
    rows = prompt.vectors.detach()
    return {**common, **_sizes(tower), "peft_type": "PROMPT_TUNING", "num_virtual_tokens": len(rows),
            "token_dim": rows.shape[1], "prompt_tuning_init": "RANDOM"}, {ROWS: rows}  # fmt: skip


def write_prefix(
    model: nn.Module, change: PrefixTuning, common: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """E2013 for an encoder–decoder, where PEFT gives a prefix to the decoder alone."""
    tower = _only_tower(model)
    layers = []
    for attention in _attentions(tower):
        assert isinstance(attention.prefixes, Prefixes)
        prefix = attention.prefixes.adapters[name]
        assert isinstance(prefix, Prefix)
        layers += [prefix.key.detach(), prefix.value.detach()]
    rows = torch.stack(layers).permute(2, 0, 1, 3).flatten(1)  # (2L, G, P, K) -> (P, 2L · G · K)
    heads, _, size = layers[0].shape
    sizes = _sizes(tower) | {"num_attention_heads": heads, "token_dim": heads * size}
    return {**common, **sizes, "peft_type": "PREFIX_TUNING", "num_virtual_tokens": len(rows),
            "encoder_hidden_size": heads * size, "prefix_projection": False}, {ROWS: rows}  # fmt: skip


def read_prompt(
    model: nn.Module, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: object
) -> tuple[Addition, dict[str, Tensor]]:
    """E2013 where the decoder of an encoder–decoder has a prompt of its own."""
    if config.get("num_transformer_submodules", 1) not in (None, 1):
        raise DanluError("E2013", where=where, found="num_transformer_submodules 2", possible=1)
    rows = _rows(tensors, where)
    tower = _first_tower(model)
    path = next(path for path, module in model.named_modules() if module is tower)
    return PromptTuning(tokens=len(rows)), {f"{path}.embedding.prompts.vectors": rows}


def read_prefix(
    model: nn.Module, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: object
) -> tuple[Addition, dict[str, Tensor]]:
    rows, tower = _rows(tensors, where), _only_tower(model)
    found = list(_attentions(tower))
    paths = {id(module): path for path, module in model.named_modules()}
    shape = (len(rows), 2 * len(found), found[0].kv_heads, found[0].head_size)
    if rows[0].numel() != shape[1] * shape[2] * shape[3]:
        raise DanluError(
            "E2005", where=where, found=tuple(rows.shape), possible=(len(rows), shape[1] * shape[2] * shape[3])
        )
    layers = rows.view(shape).permute(1, 2, 0, 3)
    own = {
        f"{paths[id(attention)]}.prefixes.{part}": layers[2 * index + (part == "value")].contiguous()
        for index, attention in enumerate(found)
        for part in ("key", "value")
    }
    return PrefixTuning(tokens=len(rows)), own


def _rows(tensors: Mapping[str, Tensor], where: object) -> Tensor:
    if set(tensors) != {ROWS} or tensors[ROWS].ndim != 2:
        raise DanluError("E2005", where=where, found=sorted(tensors)[:3], possible=ROWS)
    return tensors[ROWS]


def _attentions(tower: Tower) -> list[Attention]:
    return [block.attention for block in tower.transformer.blocks if isinstance(block.attention, Attention)]


def _sizes(tower: Tower) -> dict[str, Any]:
    config = tower.transformer.config
    return {"num_layers": config.depth, "num_attention_heads": config.attention.heads, "num_transformer_submodules": 1}


def _first_tower(model: nn.Module) -> Tower:
    return next(module for module in model.modules() if isinstance(module, Tower))


def _only_tower(model: nn.Module) -> Tower:
    towers = [module for module in model.modules() if isinstance(module, Tower)]
    if len(towers) != 1 or towers[0].transformer.relative_bias is not None:
        raise DanluError("E2013", found="prefix")
    return towers[0]
