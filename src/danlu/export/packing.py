"""Codes in the layouts of other programs. Shapes: O outputs, I inputs, G groups."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

QK = 32  # weights of a GGUF block


def words(codes: Tensor, bits: int, dim: int) -> Tensor:
    """Codes (whole numbers from 0) side by side in 32-bit words along a dimension, the first in the lowest bits."""
    each = 32 // bits
    missing = -codes.shape[dim] % each
    padded = torch.nn.functional.pad(codes.long().movedim(dim, -1), (0, missing))
    turned = padded.view(*padded.shape[:-1], -1, each)
    packed = (turned << (bits * torch.arange(each))).sum(-1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32).movedim(-1, dim).contiguous()


def unwords(packed: Tensor, bits: int, dim: int, count: int) -> Tensor:
    """What `words` took: `count` codes along the dimension."""
    turned = packed.long().movedim(dim, -1)
    codes = (turned[..., None] >> (bits * torch.arange(32 // bits))) & (2**bits - 1)
    whole: Tensor = codes.flatten(-2)[..., :count].movedim(-1, dim)
    return whole


def compressed(codes: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, packed: bool) -> dict[str, Tensor]:
    """What compressed-tensors keeps of a matrix, by ending: `pack-quantized`, or `int-quantized`, a byte each.

    Its packed codes are ours; its zeros are packed along outputs."""
    kept = {"weight_scale": scales.clone()}
    if not packed:
        return kept | {"weight": (codes.int() - 128).to(torch.int8)}
    kept |= {"weight_packed": words(codes, bits, 1), "weight_shape": torch.tensor(codes.shape)}
    return kept if zeros is None else kept | {"weight_zero_point": words(zeros, bits, 0)}


def gptq(codes: Tensor, scales: Tensor, zeros: Tensor, bits: int, group: int) -> dict[str, Tensor]:
    """What GPTQ checkpoints keep of a matrix, by ending: words along inputs, and zeros less one (format v1)."""
    return {
        "qweight": words(codes.T, bits, 0),
        "qzeros": words((zeros.T.long() - 1) & (2**bits - 1), bits, 1),
        "scales": scales.T.half().contiguous(),
        "g_idx": torch.arange(codes.shape[1], dtype=torch.int32) // group,
    }


def from_gptq(parts: dict[str, Tensor], bits: int) -> Tensor:
    """The weights (O, I) that a GPTQ checkpoint stands for, by the formula of its readers."""
    inputs, outputs = len(parts["g_idx"]), parts["qweight"].shape[1]
    codes = unwords(parts["qweight"], bits, 0, inputs)
    zeros = (unwords(parts["qzeros"], bits, 1, outputs) + 1) & (2**bits - 1)
    group = parts["g_idx"].long()
    weight: Tensor = ((codes - zeros[group]).float() * parts["scales"].float()[group]).T
    return weight


def q8_0(codes: Tensor, scales: Tensor, group: int) -> NDArray[np.uint8]:
    """GGUF's Q8_0, the same codes: of 32 weights a scale in half precision and a byte each, (O, I / 32 * 34)."""
    signed = (codes.int() - 128).to(torch.int8).view(len(codes), -1, QK).numpy().view(np.uint8)
    return _joined(_each_block(scales, group, codes.shape[1]), signed)


def q4_0(codes: Tensor, scales: Tensor, group: int) -> NDArray[np.uint8]:
    """GGUF's Q4_0, the same codes, whose zero is 8: (O, I / 32 * 18)."""
    return _joined(_each_block(scales, group, codes.shape[1]), _halves(codes))


def q4_1(codes: Tensor, scales: Tensor, zeros: Tensor, group: int) -> NDArray[np.uint8]:
    """GGUF's Q4_1: the same codes, and in the place of a zero the least weight, in half precision."""
    least = _each_block(-scales * zeros.float(), group, codes.shape[1])
    return _joined(np.concatenate([_each_block(scales, group, codes.shape[1]), least], -1), _halves(codes))


def _halves(codes: Tensor) -> NDArray[np.uint8]:
    """Of 32 codes the first 16 in the lower halves of bytes."""
    blocks = codes.to(torch.uint8).view(len(codes), -1, 2, QK // 2)
    packed: NDArray[np.uint8] = (blocks[:, :, 0] | blocks[:, :, 1] << 4).numpy()
    return packed


def _each_block(numbers: Tensor, group: int, inputs: int) -> NDArray[np.uint8]:
    """A number of each group, for each block of 32 inputs, in half precision: (O, I / 32, 2) bytes."""
    blocks = numbers.repeat_interleave(group // QK, 1)[:, : inputs // QK]
    return blocks.half()[..., None].contiguous().numpy().view(np.uint8)


def _joined(head: NDArray[np.uint8], body: NDArray[np.uint8]) -> NDArray[np.uint8]:
    whole: NDArray[np.uint8] = np.concatenate([head, body], -1).reshape(len(head), -1)
    return whole
