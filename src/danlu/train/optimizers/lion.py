"""Lion: the sign of a momentum, half the memory of Adam."""

from collections.abc import Callable

import torch

from danlu.train.optimizers.groups import Group, gradients, remembered, with_gradient


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2. Every number moves by the rate: a third to a tenth of AdamW's, with a decay as
    many times larger."""

    def __init__(self, groups: list[Group]):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            if not (parameters := with_gradient(group)):
                continue
            first, second = group["betas"]
            averages, found = remembered(self, parameters, "mean"), gradients(parameters)
            directions = torch._foreach_lerp(averages, found, 1 - first)
            torch._foreach_sign_(directions)
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, directions, alpha=-group["lr"])
            torch._foreach_lerp_(averages, found, 1 - second)
        return loss
