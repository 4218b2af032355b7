"""Cross-entropy over a vocabulary, without ever holding (tokens x vocabulary) at once.

Shapes: N tokens that have a target, D features, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ELEMENTS = 2**26  # of logits: 128 MB in bf16
BLOCK_ELEMENTS = 2**20  # of float32 softmax: 4 MB, so that it stays in the cache


def head_loss(
    features: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float = 0.0,
    z_weight: float = 0.0,
) -> Tensor:
    """Sum over tokens of cross-entropy(features @ weight.T + bias, targets), in float32.

    The gradients of a chunk of tokens are taken while its logits are at hand, so that logits live only for a chunk and
    are never computed twice: three matrix products in all, as many as the whole-matrix way needs.

    features (N, D), weight (V, D), bias (V,) or None, targets (N,) -> ().
    smoothing: label smoothing (Szegedy et al. 2016). z_weight: adds z_weight * log(Z)^2 (PaLM, section 5).
    """
    dtype = features.dtype
    if torch.is_autocast_enabled(features.device.type):
        dtype = torch.get_autocast_dtype(features.device.type)
    loss: Tensor = _HeadLoss.apply(features, weight, bias, targets, dtype, smoothing, z_weight)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, dtype: torch.dtype,
        smoothing: float, z_weight: float,
    ) -> Tensor:  # fmt: skip
        wants = ctx.needs_input_grad
        vocabulary = weight.shape[0]
        low_weight = weight.to(dtype)
        low_features = features.to(dtype)
        total = features.new_zeros((), dtype=torch.float32)
        features_grad = torch.empty_like(low_features) if wants[0] else None
        weight_grad: Tensor | None = None
        bias_grad = torch.zeros_like(weight[:, 0], dtype=torch.float32) if wants[2] else None
        for start in range(0, len(features), max(1, CHUNK_ELEMENTS // vocabulary)):
            rows = slice(start, start + max(1, CHUNK_ELEMENTS // vocabulary))
            logits = F.linear(low_features[rows], low_weight)
            total += _softmax_less_target_(logits, bias, targets[rows], smoothing, z_weight, any(wants))
            if features_grad is not None:
                torch.mm(logits, low_weight, out=features_grad[rows])
            if wants[1]:
                part = logits.t().mm(low_features[rows])
                weight_grad = part.float() if weight_grad is None else weight_grad.add_(part)
            if bias_grad is not None:
                bias_grad += logits.new_ones(len(logits)) @ logits  # a product adds in float32 without a float32 copy
            del logits
        if wants[1] and weight_grad is None:  # no token at all
            weight_grad = torch.zeros_like(weight, dtype=torch.float32)
        ctx.save_for_backward(features_grad, weight_grad, bias_grad)
        ctx.dtypes = features.dtype, weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = outputs
        gradients = [
            None if gradient is None else gradient.mul_(scale.to(gradient.dtype)).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*gradients, None, None, None, None)


def _softmax_less_target_(
    logits: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, z_weight: float, gradient: bool
) -> Tensor:
    """The summed loss of a chunk; its logits (N, V) become their own gradient, block by block while in the cache.

    The bias is added here because a product that adds it would first write it out once a row.
    """
    total = logits.new_zeros((), dtype=torch.float32)
    vocabulary = logits.shape[1]
    step = max(1, BLOCK_ELEMENTS // vocabulary) if logits.device.type == "cpu" else len(logits)
    for start in range(0, len(logits), step):
        block, wanted = logits[start : start + step], targets[start : start + step, None]
        scores = block.float() if bias is None else block + bias.float()
        score = scores.gather(1, wanted)
        mean_score = scores.mean(1, keepdim=True) if smoothing else None
        log_z = scores.logsumexp(1, keepdim=True) if not gradient else None
        if log_z is None:
            # With the softmax at hand, log Z = score - log p; where p underflows, it is summed anew.
            scores = torch.softmax(scores, 1)
            log_z = score - scores.gather(1, wanted).log()
            if not bool(log_z.isfinite().all()):
                log_z = (block.float() if bias is None else block + bias.float()).logsumexp(1, keepdim=True)
        losses = log_z - score
        if mean_score is not None:
            losses = (1 - smoothing) * losses + smoothing * (log_z - mean_score)
        if z_weight:
            losses = losses + z_weight * log_z.square()
        total += losses.sum()
        if not gradient:
            continue
        if z_weight:
            scores *= 1 + 2 * z_weight * log_z
        if smoothing:
            scores -= smoothing / vocabulary
        scores.scatter_add_(1, wanted, torch.full_like(score, smoothing - 1))
        block.copy_(scores)
    return total
