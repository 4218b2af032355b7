"""Optimisers as a table: which there are, how each sorts the parameters, and the rate that suits a fresh model."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from danlu.train.optimizers.adafactor import Adafactor
from danlu.train.optimizers.groups import Group, Sorted
from danlu.train.optimizers.lamb import Lamb
from danlu.train.optimizers.lion import Lion
from danlu.train.optimizers.muon import Muon
from danlu.train.optimizers.muon import orthogonalized as orthogonalized

OptimizerName = Literal["adamw", "muon", "lamb", "adafactor", "lion"]


@dataclass(frozen=True)
class Asked:
    """What optimisers can be told; each reads what it knows."""

    betas: tuple[float, float]
    eps: float
    momentum: float  # of Muon
    precision: torch.dtype  # in which Muon orthogonalises
    factored: bool  # of Adafactor: squares as a row and a column


@dataclass(frozen=True)
class Optimizer:
    """A row of the table. rate: suits a fresh model of width 768; by_width: and falls as 1 / sqrt(width)."""

    make: Callable[[list[Group], Asked], torch.optim.Optimizer]
    rate: float
    by_width: bool = True
    apart: bool = False  # tables (embeddings, the vocabulary head) are not treated as matrices are


OPTIMIZERS: Mapping[OptimizerName, Optimizer] = {
    "adamw": Optimizer(lambda groups, _: torch.optim.AdamW(groups, fused=True), 6e-4),
    "muon": Optimizer(lambda groups, asked: Muon(groups, asked.momentum, asked.precision), 2e-3, apart=True),
    "lamb": Optimizer(lambda groups, _: Lamb(groups), 1e-2, by_width=False),
    "adafactor": Optimizer(lambda groups, _: Adafactor(groups), 1e-2, by_width=False),
    "lion": Optimizer(lambda groups, _: Lion(groups), 1e-4),
}


def suggested_rate(name: OptimizerName, width: int) -> float:
    """A learning rate that suits a fresh model of this width."""
    row = OPTIMIZERS[name]
    return row.rate * (math.sqrt(768 / width) if row.by_width else 1.0)


def make_optimizer(
    model: nn.Module,
    name: OptimizerName,
    *,
    lr: float,
    weight_decay: float | Literal["rate"] = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    momentum: float = 0.95,
    precision: torch.dtype = torch.float32,
    factored: bool = True,
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that want a gradient; every group keeps its full rate as `initial_lr`.

    Vectors (norms, biases) are not decayed. Under "muon", embeddings, the vocabulary head and vectors follow AdamW;
    `precision` is the dtype in which Muon orthogonalises. weight_decay "rate": of Adafactor, as large as the rate.
    """
    row, parameters = OPTIMIZERS[name], Sorted.of(model)
    shared: dict[str, Any] = {"lr": lr, "initial_lr": lr, "betas": betas, "eps": eps, "factored": factored}

    def group(params: list[torch.Tensor], decay: float | str, orthogonal: bool = False) -> Group:
        return shared | {"params": params, "weight_decay": decay, "orthogonal": orthogonal}

    vectors = group(parameters.vectors, 0.0)
    if row.apart:
        groups = [group(parameters.matrices, weight_decay, True), group(parameters.tables, weight_decay), vectors]
    else:
        groups = [group(parameters.matrices + parameters.tables, weight_decay), vectors]
    asked = Asked(betas, eps, momentum, precision, factored)
    return row.make([each for each in groups if each["params"]], asked)
