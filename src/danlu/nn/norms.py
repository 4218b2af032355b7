"""Norms torch has too slowly, or not in our way: root-mean-square norms and batch norms."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class RmsNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019), in the dtype of x: (..., D) -> (..., D).

    torch fuses the backward pass of this norm on GPUs only; on a CPU it takes a chain of passes over the tensor, three
    times as long as ours.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return nn.functional.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
        normed: Tensor = _RmsNorm.apply(x, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return normed


class BatchNorm(nn.Module):
    """Each channel by its mean and variance over the batch while training, by running ones otherwise (Ioffe and Szegedy
    2015): (B, C, ...) -> the same.

    The running statistics are parameters that want no gradient: they are found, saved and loaded like all others.
    """

    beginnings: Mapping[str, float] = {"variance": 1.0}
    moving = ("mean", "variance")

    def __init__(self, channels: int, eps: float, momentum: float):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean = nn.Parameter(torch.zeros(channels), requires_grad=False)
        self.variance = nn.Parameter(torch.ones(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            x, self.mean, self.variance, self.weight, self.bias, self.training, self.momentum, self.eps
        )


def moving(model: nn.Module) -> set[str]:
    """Names of parameters that change while a model is trained, though no gradient changes them."""
    found = ((path, each) for path, module in model.named_modules() for each in getattr(module, "moving", ()))
    return {f"{path}.{each}" if path else each for path, each in found}


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_().div_(x.shape[-1])
        scale = mean_square.add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        normed: Tensor = x * scale.to(x.dtype)
        return normed.mul_(weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        """A layer norm whose mean is taken to be zero differs in its gradient by scale * mean(gradient * weight)."""
        (gradient,) = outputs
        x, weight, scale = ctx.saved_tensors
        width = x.shape[-1]
        gradient = gradient.contiguous()
        x_gradient = torch.ops.aten.native_layer_norm_backward(
            gradient, x, [width], torch.zeros_like(scale), scale, weight, None, [True, False, False]
        )[0]
        missed = (
            (gradient.reshape(-1, width) @ weight.to(gradient.dtype)).view_as(scale).float().mul_(scale).div_(width)
        )
        # The kernel would sum the weight's gradient in the dtype of x: a tenth is lost over 20,000 rows of bf16.
        normed = (x * scale.to(x.dtype)).mul_(gradient).reshape(-1, width)
        weight_gradient = normed.new_ones(len(normed)) @ normed
        return x_gradient.add_(missed.to(x_gradient.dtype)), weight_gradient.to(weight.dtype), None
