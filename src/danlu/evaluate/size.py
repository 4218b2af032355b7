"""How large a model is: numbers, bits, bytes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from danlu.nn.embedding import TokenEmbedding
from danlu.nn.quantized import Codes


@dataclass(frozen=True)
class Size:
    """weights: numbers that the model's matrices stand for, whatever they are kept as; nonzero: those of them that are
    not zero. embedding: the share of them in tables of tokens. bits: kept for each weight, scales included. bytes: of
    all tensors; file: of the files they are in, where they were written."""

    weights: int
    nonzero: int
    embedding: float
    bits: float
    bytes: int
    file: int | None = None

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def size_of(model: nn.Module, folder: Path | None = None) -> Size:
    """Tied tensors count once. folder: a model folder whose safetensors files are counted."""
    coded: set[int] = set()
    seen: set[int] = set()
    weights = nonzero = kept = table = 0
    for module in model.modules():
        if isinstance(module, Codes):
            coded.update(id(each) for each in (module.codes, module.scales, module.zeros))
            if id(module.codes) not in seen:
                seen.add(id(module.codes))
                weights += module.rows * module.columns
                nonzero += int((module.dense() != 0).sum())
                kept += module.nbytes
    for parameter in model.parameters():
        if id(parameter) not in coded:
            weights += parameter.numel()
            nonzero += int((parameter.detach() != 0).sum())
            kept += parameter.nbytes
    tables = {id(_numbers(module.tokens)): module.tokens for module in model.modules()
              if isinstance(module, TokenEmbedding)}  # fmt: skip
    for each in tables.values():
        table += each.num_embeddings * each.embedding_dim
    file = (
        sum(path.stat().st_size for path in folder.glob("*.safetensors") if "golden" not in path.name)
        if folder
        else None
    )
    return Size(weights, nonzero, table / max(1, weights), 8 * kept / max(1, weights), kept, file)


def _numbers(table: nn.Module) -> Any:
    return table.codes if isinstance(table, Codes) else table.weight
