"""Optimisers: AdamW for everything, or Muon for the matrices and AdamW for the rest."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

OptimizerName = Literal["adamw", "muon"]

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients, Jordan et al. 2024
NEWTON_SCHULZ_STEPS = 5
MATCHED_RMS = 0.2  # Liu et al. 2025, eq. 4: gives Muon's update the size of AdamW's, so that both share one rate


def suggested_rate(name: OptimizerName, width: int) -> float:
    """A learning rate that suits a fresh model of this width: falls as 1/sqrt(width), 6e-4 at 768 for AdamW."""
    rates: dict[OptimizerName, float] = {"adamw": 6e-4, "muon": 2e-3}
    return rates[name] * math.sqrt(768 / width)


def make_optimizer(
    model: nn.Module,
    name: OptimizerName,
    *,
    lr: float,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
    momentum: float = 0.95,
    precision: torch.dtype = torch.float32,
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that want a gradient; every group keeps its full rate as `initial_lr`.

    Vectors (norms, biases) are not decayed. Under "muon", embeddings, the vocabulary head and vectors follow AdamW;
    `precision` is the dtype in which Muon orthogonalises.
    """
    matrices, tables, vectors = _sorted_parameters(model)
    shared: dict[str, Any] = {"lr": lr, "initial_lr": lr, "betas": betas, "eps": eps}
    vectors_group = shared | {"params": vectors, "weight_decay": 0.0}
    if name == "adamw":
        groups = [shared | {"params": matrices + tables, "weight_decay": weight_decay}, vectors_group]
        return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)
    groups = [
        shared | {"params": matrices, "weight_decay": weight_decay, "orthogonal": True},
        shared | {"params": tables, "weight_decay": weight_decay, "orthogonal": False},
        vectors_group | {"orthogonal": False},
    ]
    return Muon([group for group in groups if group["params"]], momentum, precision)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made nearly orthogonal before they are applied (Jordan et al. 2024).

    Groups with `orthogonal` False are stepped by AdamW. Matrices of one shape are orthogonalised together: small models
    have many small matrices, and one batched product costs less than many single ones.
    """

    def __init__(self, groups: list[dict[str, Any]], momentum: float, precision: torch.dtype):
        super().__init__(groups, {})
        self.momentum, self.precision = momentum, precision

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["orthogonal"]:
                for alike in _by_shape(parameters):
                    self._step_matrices(group, alike)
            elif parameters:
                self._step_adamw(group, parameters)
        return loss

    def _step_matrices(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        gradients = _gradients(parameters)
        averages = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
        looked_ahead = torch._foreach_lerp(gradients, averages, self.momentum)  # Nesterov's
        updates = orthogonalized(torch.stack(list(looked_ahead)).to(self.precision))
        rows, columns = parameters[0].shape
        rate = group["lr"] * MATCHED_RMS * max(rows, columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype).unbind()), alpha=-rate)

    def _step_adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] |= {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            _gradients(parameters),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalized(matrices: Tensor) -> Tensor:
    """Roughly the nearest semi-orthogonal matrices: singular values end near 1. (N, R, C) -> (N, R, C)."""
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _sorted_parameters(model: nn.Module) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Trainable parameters as (matrices, vocabulary-sized or other tables, vectors)."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    tables |= {id(parameter) for name, parameter in model.named_parameters() if name.endswith("head.output.weight")}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim == 2 and id(parameter) not in tables]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    kept = {id(parameter) for parameter in matrices + vectors}
    return list(matrices), [p for p in trainable if id(p) not in kept], list(vectors)


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _by_shape(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        alike[parameter.shape].append(parameter)
    yield from alike.values()
