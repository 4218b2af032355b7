"""Adafactor: Adam's second average kept as one row and one column of each matrix."""

from collections.abc import Callable

import torch
from torch import Tensor

from danlu.train.optimizers.groups import Group, gradients, with_gradient

SMALLEST = 1e-30  # added to squared gradients
LEAST_SIZE = 1e-3  # of a parameter, for the length of its step
LONGEST = 1.0  # root mean square of an update; longer ones are shortened
FADING = 0.8  # the second average's beta is 1 - k ** -FADING at step k


class Adafactor(torch.optim.Optimizer):
    """Shazeer and Stern 2018, algorithms 4 and 5, with T5's constants.

    Steps are relative to the parameter's own size (at least `LEAST_SIZE`): the rate says by which share it may change.
    The paper's relative step, min(1e-2, 1 / sqrt(k)), is a schedule: `inverse_sqrt` at a rate of 1e-2, held for 10,000
    steps. betas[0] is that of an average of the updates; 0 keeps none (T5), PaLM has 0.9. A group's `factored` False
    keeps every square (PaLM, section 5); its weight decay "rate" is as large as the rate, lr² in all (PaLM).
    """

    def __init__(self, groups: list[Group]):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            parameters = with_gradient(group)
            for parameter, gradient in zip(parameters, gradients(parameters), strict=True):
                self._step(group, parameter, gradient.float())
        return loss

    def _step(self, group: Group, parameter: Tensor, gradient: Tensor) -> None:
        state, rate = self.state[parameter], group["lr"]
        state["step"] = state.get("step", 0) + 1
        beta = 1 - state["step"] ** -FADING
        update = self._divided(state, gradient, beta, group["factored"])
        update /= (_size(update) / LONGEST).clamp(min=1.0)
        update *= rate * _size(parameter).clamp(min=LEAST_SIZE)
        if first := group["betas"][0]:
            average = state.setdefault("mean", torch.zeros_like(update))
            update = average.lerp_(update, 1 - first)
        decay = rate if group["weight_decay"] == "rate" else group["weight_decay"]
        parameter.mul_(1 - rate * decay).sub_(update.to(parameter.dtype))

    @staticmethod
    def _divided(state: dict[str, Tensor], gradient: Tensor, beta: float, factored: bool) -> Tensor:
        """The gradient over the root of its average square."""
        square = gradient.square() + SMALLEST
        if gradient.ndim < 2 or not factored:
            average = state.setdefault("square", torch.zeros_like(square)).lerp_(square, 1 - beta)
            return gradient * average.rsqrt()
        row = state.setdefault("row", torch.zeros_like(square[..., 0])).lerp_(square.mean(-1), 1 - beta)
        column = state.setdefault("column", torch.zeros_like(square[..., 0, :])).lerp_(square.mean(-2), 1 - beta)
        return gradient * (row / row.mean(-1, keepdim=True)).rsqrt().unsqueeze(-1) * column.rsqrt().unsqueeze(-2)


def _size(tensor: Tensor) -> Tensor:
    """Root mean square."""
    return tensor.float().square().mean().sqrt()
