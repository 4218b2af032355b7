"""What a model folder may ask for, looked at before a byte is set aside."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from danlu.checkpoint.places import CONFIG
from danlu.checkpoint.weights import Weights
from danlu.errors import DanluError
from danlu.models.build import Model, ModelConfig, parameters
from danlu.models.classifier import ClassifierConfig
from danlu.models.weights import Table
from danlu.nn.parameters import tied_names

MOST = {
    "depth": 1_024, "width": 65_536, "vocabulary": 2_000_000, "length": 2**30, "original": 2**30, "windows": 2**30,
    "max_distance": 2**30,
}  # fmt: skip
MOST_ELSE = 2**22


def check_size(config: ModelConfig, folder: Path) -> None:
    """Whole numbers within what can be computed with. E1408."""
    for name, found in _numbers("", config.model_dump()):
        most = MOST.get(name, MOST_ELSE)
        if abs(found) > most:
            raise DanluError("E1408", where=folder / CONFIG, name=name, found=found, possible=f"≤ {most}")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from _numbers(inner, each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(name, each)
    elif isinstance(value, int):
        yield name, value


def check_depth(config: ModelConfig, weights: Weights, folder: Path) -> None:
    """A layer without a tensor is none: what the file cannot fill is not built. E1408."""
    base = config.base if isinstance(config, ClassifierConfig) else config
    for name in ("transformer", "encoder", "decoder"):
        stack = getattr(base, name, None)
        if stack and stack.depth > len(weights):
            possible = f"{len(weights)} tensors"
            raise DanluError("E1408", where=folder / CONFIG, name="depth", found=stack.depth, possible=possible)


def check_shapes(model: Model, weights: Weights, table: Table, folder: Path) -> None:
    """Sizes by the headers alone, before a byte is set aside. E1404."""
    short = {name.removeprefix(table.prefix): entry for name, entry in weights.entries.items()}
    for ours, theirs, stored in table.locate(dict.fromkeys(tied_names(model).values())):
        entry = weights.entries.get(theirs) or short.get(theirs.removeprefix(table.prefix))
        wanted = model.get_parameter(ours)
        if entry and entry.count != wanted.numel() * stored.parts:
            raise DanluError("E1404", where=folder, name=theirs, found=entry.shape, possible=tuple(wanted.shape))


def check_memory(config: ModelConfig, weights: Weights, dtype: torch.dtype | None, where: object) -> None:
    largest = max((entry.dtype.itemsize for entry in weights.entries.values()), default=4)
    needed = parameters(config) * (dtype.itemsize if dtype else largest)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise DanluError("E1430", where=where, needed=f"{needed / 1e9:.1f} GB", found=f"{there / 1e9:.1f} GB")
