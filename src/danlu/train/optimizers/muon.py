"""Muon: momentum made nearly orthogonal, for matrices; AdamW for the rest."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from danlu.train.optimizers.groups import Group, by_shape, gradients, remembered, with_gradient

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients, Jordan et al. 2024
NEWTON_SCHULZ_STEPS = 5
MATCHED_RMS = 0.2  # Liu et al. 2025, eq. 4: gives Muon's update the size of AdamW's, so that both share one rate


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made nearly orthogonal before they are applied (Jordan et al. 2024).

    Groups with `orthogonal` False are stepped by AdamW. Matrices of one shape are orthogonalised together: small models
    have many small matrices, and one batched product costs less than many single ones.
    """

    def __init__(self, groups: list[Group], momentum: float, precision: torch.dtype):
        super().__init__(groups, {})
        self.momentum, self.precision = momentum, precision

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = with_gradient(group)
            if group["orthogonal"]:
                for alike in by_shape(parameters):
                    self._step_matrices(group, alike)
            elif parameters:
                self._step_adamw(group, parameters)
        return loss

    def _step_matrices(self, group: Group, parameters: list[Tensor]) -> None:
        averages, found = remembered(self, parameters, "momentum"), gradients(parameters)
        torch._foreach_lerp_(averages, found, 1 - self.momentum)
        looked_ahead = torch._foreach_lerp(found, averages, self.momentum)  # Nesterov's
        updates = orthogonalized(torch.stack(list(looked_ahead)).to(self.precision))
        rows, columns = parameters[0].shape
        rate = group["lr"] * MATCHED_RMS * max(rows, columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype).unbind()), alpha=-rate)

    def _step_adamw(self, group: Group, parameters: list[Tensor]) -> None:
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
            gradients(parameters),
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
