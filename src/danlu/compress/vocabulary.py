"""Cutting the vocabulary: tokens that a model's texts hardly have go, from its tables and from its tokenizer."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from danlu.compress.settle import settle
from danlu.compress.surgery import keep_outputs, keep_rows
from danlu.models.build import Model
from danlu.nn.embedding import TokenEmbedding
from danlu.nn.heads import LanguageHead
from danlu.settings import Settings
from danlu.text.pruning import pruned
from danlu.text.tokenizer import Tokenizer

TOKENS = ("tokens", "source", "target")


def counted(batches: Iterable[Mapping[str, Tensor]]) -> Counter[int]:
    """How often each token stands in the inputs of some batches."""
    found: Counter[int] = Counter()
    for inputs in batches:
        for name in TOKENS:
            if name in inputs:
                ids, counts = torch.unique(inputs[name], return_counts=True)
                found.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
    return found


def chosen(counts: Counter[int], vocabulary: int, keep: int | None, share: float) -> list[int]:
    """The most frequent tokens; of equally frequent ones the older. keep: how many; otherwise all but `share`, and
    never one that does not occur."""
    wanted = keep or round(vocabulary * (1 - share))
    return [token for token, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:wanted]]


def cut(model: Model, tokenizer: Tokenizer, kept: Iterable[int]) -> tuple[Model, Tokenizer]:
    """The model, changed in place, and its new tokenizer."""
    smaller, order = pruned(tokenizer, set(kept))
    return cut_rows(model, order), smaller


def cut_rows(model: Model, order: list[int]) -> Model:
    """Keep these rows of every table of tokens, in this order; ties stay, and ids in the config follow."""
    rows = torch.tensor(order)
    made: dict[int, nn.Embedding] = {}
    for module in list(model.modules()):
        if isinstance(module, TokenEmbedding):
            weight = module.tokens.weight
            if id(weight) not in made:
                made[id(weight)] = keep_rows(module.tokens, rows)
            module.tokens = made[id(weight)]
    for module in list(model.modules()):
        if isinstance(module, LanguageHead) and hasattr(module, "output"):
            weight = module.output.weight
            assert isinstance(module.output, nn.Linear)
            module.output = keep_outputs(module.output, rows)
            if id(weight) in made:
                module.output.weight = made[id(weight)].weight
    new = {old: at for at, old in enumerate(order)}
    model.config = _renumbered(model.config, new)
    return settle(model)


def _renumbered(config: Any, new: Mapping[int, int]) -> Any:
    """The token a decoder begins with, and the one a text is read at."""
    changes: dict[str, Any] = {}
    for name, value in config:
        if name in ("start", "end") and type(value) is int:
            changes[name] = new[value]
        elif isinstance(value, Settings) and hasattr(value, "embedding"):
            changes[name] = _renumbered(value, new)
    return config.model_copy(update=changes)
