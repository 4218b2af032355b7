"""What became of a model in another format, and what every format needs."""

import copy
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.errors import DanluError
from danlu.kernels import Coded, pack, unpack
from danlu.models.build import Model
from danlu.models.weights import Table
from danlu.nn.coding import BITS
from danlu.nn.parameters import replace_module
from danlu.nn.quantized import Codes, QuantizedLinear


@dataclass(frozen=True)
class Outcome:
    """files: what was written. coded, plain: names of matrices kept as codes, and of those that are not. difference:
    the largest between logits, of logits whose own largest is at least 1; None: nothing could replay them. judge: what
    replayed them."""

    files: tuple[Path, ...]
    coded: tuple[str, ...]
    plain: tuple[str, ...]
    difference: float | None
    judge: str

    def facts(self) -> dict[str, Any]:
        return {
            "coded": len(self.coded), "plain": len(self.plain), "difference": self.difference, "judge": self.judge,
            "bytes": sum(file.stat().st_size for file in self.files),
        }  # fmt: skip


def package(name: str) -> Any:
    """An optional package. E2502 where it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise DanluError("E2502", found=name) from error


def there(name: str) -> bool:
    return find_spec(name) is not None


def twin(model: Model) -> Model:
    """The same model with numbers in the place of codes: what runtimes compute that round no inputs. Ties stay."""
    made = copy.deepcopy(model)
    known: dict[int, nn.Parameter] = {}
    for path, layer in list(made.named_modules()):
        if not isinstance(layer, Codes):
            continue
        weight = known.setdefault(id(layer.codes), nn.Parameter(layer.dense()))
        plain: nn.Module
        if isinstance(layer, QuantizedLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
            plain.bias = layer.bias  # type: ignore[assignment]
        else:
            plain = nn.Embedding(layer.rows, layer.columns, device="meta")
        plain.weight = weight
        replace_module(made, path, plain.train(layer.training))
    return made


def codes_of(model: Model, table: Table, theirs: str) -> Coded | None:
    """The codes of a published matrix, of several layers one below the other where it holds several; None where one of
    them has none, or they are kept in several ways."""
    names = [
        f"{path}.weight" for path, each in model.named_modules() if isinstance(each, (Codes, nn.Linear, nn.Embedding))
    ]
    own = [(stored.part, name) for name, their, stored in table.locate(names) if their == theirs]
    layers = [model.get_submodule(name.rpartition(".")[0]) for _, name in sorted(own)]
    parts = {id(each.codes): each for each in layers if isinstance(each, Codes)}
    configs = {each.config.model_copy(update={"input_scale": 0.0}) for each in parts.values()}
    if len(configs) != 1 or not all(isinstance(each, Codes) for each in layers):
        return None
    plain = [unpack(each.coded) for each in parts.values()]
    (config,) = configs
    codes, scales, zeros = (torch.cat(each) for each in zip(*plain, strict=True))
    coded = next(iter(parts.values())).coded
    return pack(codes, scales, zeros, coded.group, BITS[config.coding], coded.levels)


def codes_by_name(model: Model, table: Table) -> dict[str, tuple[str, Codes]]:
    """Layers of codes by the published name of their weight, with their path; those that share a tensor with others, or
    are turned around there, are not among them."""
    found = {f"{path}.weight": (path, layer) for path, layer in model.named_modules() if isinstance(layer, Codes)}
    located = table.locate(list(found))
    return {their: found[ours] for ours, their, stored in located if stored.parts == 1 and not stored.transposed}


def distance(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, of logits whose own largest is at least 1."""
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


@torch.no_grad()
def samples(model: Model, vocabulary: int) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs that golden samples are made of, and the logits a model gives for them."""
    draw = torch.Generator().manual_seed(0)
    length = min(16, model.config.length or 16)
    names = ("source", "target") if model.config.kind == "sequence_to_sequence" else ("tokens",)
    inputs = {name: torch.randint(vocabulary, (2, length), generator=draw) for name in names}
    logits: Tensor = model(**inputs)
    return inputs, logits.float()
