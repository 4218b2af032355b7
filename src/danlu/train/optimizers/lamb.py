"""LAMB: Adam whose step is as long, for each layer, as the layer's weights say."""

from collections.abc import Callable

import torch
from torch import Tensor

from danlu.train.optimizers.groups import Group, count_step, gradients, remembered, with_gradient


class Lamb(torch.optim.Optimizer):
    """You et al. 2019, algorithm 2, with its bias correction: made for very large batches (BERT in 76 minutes, ALIGN).

    An update u = m / (sqrt(v) + eps) + decay x w is scaled by |w| / |u| for each matrix; vectors are stepped as Adam
    does it, as in the authors' code. Where |w| or |u| is zero the scale is 1.
    """

    def __init__(self, groups: list[Group]):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            if parameters := with_gradient(group):
                self._step(group, parameters)
        return loss

    def _step(self, group: Group, parameters: list[Tensor]) -> None:
        first, second = group["betas"]
        means = remembered(self, parameters, "mean")
        squares = remembered(self, parameters, "square")
        count = count_step(self, parameters)
        found = gradients(parameters)
        torch._foreach_lerp_(means, found, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, found, found, 1 - second)
        sizes = torch._foreach_div(squares, 1 - second**count)
        torch._foreach_sqrt_(sizes)
        torch._foreach_add_(sizes, group["eps"])
        updates = torch._foreach_div(torch._foreach_div(means, 1 - first**count), sizes)
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
        if parameters[0].ndim > 1:
            torch._foreach_mul_(updates, _trust(parameters, list(updates)))
        torch._foreach_add_(parameters, updates, alpha=-group["lr"])


def _trust(parameters: list[Tensor], updates: list[Tensor]) -> list[Tensor]:
    """|w| / |u| of each, 1 where either is zero."""
    lengths = zip(torch._foreach_norm(parameters), torch._foreach_norm(updates), strict=True)
    return [torch.where((w > 0) & (u > 0), w / u, torch.ones_like(w)) for w, u in lengths]
