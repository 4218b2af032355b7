"""Who may look at whom: one rule for encoders, decoders, prefix models, padding, windows and packed documents."""

from dataclasses import dataclass

import torch
from torch import Tensor

from danlu.nn.marks import Marks, chosen
from danlu.nn.precision import compute_dtype


def attention_mask(
    query_steps: Tensor, key_steps: Tensor, key_valid: Tensor | None = None, window: int | None = None,
    query_documents: Tensor | None = None, key_documents: Tensor | None = None,
    query_branches: Tensor | None = None, key_branches: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Let a query see the keys of its document, and there of the stem and its own branch, whose step is not after its
    own.

    Equal steps see each other, so `steps` alone says what kind of model it is:
    0 0 0 0 an encoder, 0 1 2 3 a decoder, 0 0 0 1 2 3 a prefix model. A window w reaches w steps, its own included.

    Queries (B or 1, T), keys (B or 1, S) -> (B or 1, 1, T, S), true where visible.
    """
    distance = query_steps[:, :, None] - key_steps[:, None, :]
    mask = distance >= 0
    if window is not None:
        mask = mask & (distance < window)
    if key_valid is not None:
        mask = mask & key_valid.bool()[:, None, :]
    if query_documents is not None and key_documents is not None:
        mask = mask & (query_documents[:, :, None] == key_documents[:, None, :])
    if query_branches is not None and key_branches is not None:
        keys = key_branches[:, None, :]
        mask = mask & ((keys == 0) | (query_branches[:, :, None] == keys))
    return mask[:, None]


@dataclass(frozen=True)
class Visibility:
    """What attention needs to know of who sees whom, made once a forward and shared by its layers.

    `scores` is added to the scores, (B or 1, 1 or H, T, S) in the dtype of the products; None where nothing hides
    anything but the future. Hidden means the dtype's lowest number, not minus infinity: a row of padding that sees
    nothing must not become NaN.
    """

    scores: Tensor | None = None
    causal: bool = False  # the short road: later keys are hidden by the kernel itself

    def of(self, read: Tensor | int) -> "Visibility":
        """What one token of each row sees. Where nothing hides anything but the future, only the last one may be asked
        for: it sees all."""
        if self.scores is not None:
            return Visibility(chosen(self.scores, read))
        if self.causal and read != -1:
            raise ValueError("of rows without padding, only the last token may be read alone")
        return ALL


ALL = Visibility()


def own_view(
    x: Tensor, queries: Marks, keys: Marks, causal: bool, window: int | None = None, bias: Tensor | None = None
) -> Visibility:
    """What tokens see of their own row, of which they are the last: keys (S >= T)."""
    plain = keys.plain and (window is None or window >= keys.count)
    if plain and (not causal or queries.count == 1):
        return _scores(x, None, bias)
    if plain and bias is None and queries.count == keys.count:
        return Visibility(causal=True)
    steps = keys.steps
    if steps is None:
        order = torch.arange(keys.count, device=x.device)[None]
        steps = order if causal else torch.zeros_like(order)
    last = steps[:, keys.count - queries.count :]
    mask = attention_mask(
        last, steps, keys.valid, window, queries.documents, keys.documents, queries.branches, keys.branches
    )  # fmt: skip
    return _scores(x, mask, bias)


def memory_view(
    x: Tensor, documents: Tensor | None, valid: Tensor | None, memory_documents: Tensor | None
) -> Visibility:
    """What tokens see of a memory: all of it, but for its padding and other documents' parts."""
    mask = None
    if documents is not None and memory_documents is not None:
        mask = (documents[:, :, None] == memory_documents[:, None, :])[:, None]
    if valid is not None:
        seen = valid.bool()[:, None, None, :]
        mask = seen.expand(-1, -1, x.shape[1], -1) if mask is None else mask & seen
    return _scores(x, mask, None)


def _scores(x: Tensor, mask: Tensor | None, bias: Tensor | None) -> Visibility:
    """A mask, a bias, both or neither, as numbers of the dtype that `x` is multiplied in."""
    dtype = compute_dtype(x)
    if mask is None:
        return ALL if bias is None else Visibility(bias.to(dtype))
    lowest = torch.finfo(dtype).min
    if bias is not None:
        return Visibility(bias.to(dtype).masked_fill(~mask, lowest))
    return Visibility(torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, lowest))
