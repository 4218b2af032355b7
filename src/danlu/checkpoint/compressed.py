"""What `danlu.json` holds of a compressed model: what was done, and what stands where a config cannot say it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from danlu.compress.shapes import read_shapes, reshape, shapes_of, ties_of
from danlu.models.build import Model

SHAPES, TIES = "shapes", "ties"
KINDS = ("prune", "factorize", "distil", "quantize")


def record_of(model: Model) -> dict[str, Any]:
    """Shapes of modules that are not as the config builds them, and the ties between parameters; nothing for a model
    that is as its config says."""
    shapes = shapes_of(model)
    if not shapes:
        return {}
    plain = {path: shape.model_dump(mode="json") for path, shape in shapes.items()}
    return {SHAPES: plain, TIES: ties_of(model), "parameters": sum(each.numel() for each in model.parameters())}


def restore(model: Model, record: Mapping[str, Any], where: Path) -> None:
    """Give a model on the meta device the shapes a record tells of; those of heads it does not have are left. E2404."""
    known = {path for path, _ in model.named_modules()}
    shapes = {path: shape for path, shape in read_shapes(record.get(SHAPES) or {}, where).items() if path in known}
    ties = record.get(TIES) or {}
    ties = {name: first for name, first in ties.items() if {_owner(name), _owner(first)} <= known} if shapes else {}
    reshape(model, shapes, ties, where)


def are_known(changes: Sequence[Any]) -> bool:
    """Whether all of a list are what is done to a whole model, and not an adapter's."""
    return all(isinstance(change, dict) and change.get("kind") in KINDS for change in changes)


def carry(source: Model, model: Model) -> None:
    """Give a fresh model on the meta device the shapes of another one with the same towers."""
    known = {path for path, _ in model.named_modules()}
    shapes = {path: shape for path, shape in shapes_of(source).items() if path in known}
    reshape(model, shapes, {})


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
