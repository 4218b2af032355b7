"""From logits to a token: pure functions, applied in the order of one table.

Shapes: B rows, V vocabulary.
"""

from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from danlu.settings import Settings


class SamplingSettings(Settings):
    """How a token is chosen. The defaults choose the likeliest one, always."""

    temperature: float = Field(0.0, ge=0)  # 0: the likeliest token; 1: as the model believes; above: bolder
    top_k: int = Field(0, ge=0)  # only the k likeliest tokens; 0: all
    top_p: float = Field(1.0, gt=0, le=1)  # only the fewest tokens that hold this share of the probability
    repetition_penalty: float = Field(1.0, gt=0)  # above 1: tokens that stand in the text already are less likely


def penalize(logits: Tensor, penalty: float, seen: Tensor) -> Tensor:
    """Divide positive logits of seen tokens by the penalty, multiply negative ones (Keskar et al. 2019).

    logits (B, V), seen (B, V) bool -> (B, V).
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def heat(logits: Tensor, temperature: float, seen: Tensor) -> Tensor:
    """Flatten (above 1) or sharpen (below 1) the distribution."""
    return logits / temperature


def keep_top_k(logits: Tensor, k: int, seen: Tensor) -> Tensor:
    """Only the k likeliest tokens stay possible (Fan et al. 2018); those equal to the last of them too."""
    least = logits.topk(min(k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def keep_top_p(logits: Tensor, share: float, seen: Tensor) -> Tensor:
    """Only the fewest likely tokens whose probabilities reach the share stay possible (Holtzman et al. 2020)."""
    ordered, order = logits.sort(descending=True)
    probability = ordered.softmax(-1)
    beyond = probability.cumsum(-1) - probability >= share  # what came before was enough already
    return logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)


# In this order: the setting, its value that changes nothing, the function.
STEPS: tuple[tuple[str, float, Callable[..., Tensor]], ...] = (
    ("repetition_penalty", 1.0, penalize),
    ("temperature", 0.0, heat),
    ("top_k", 0, keep_top_k),
    ("top_p", 1.0, keep_top_p),
)


def shaped(logits: Tensor, settings: SamplingSettings, seen: Tensor | None = None) -> Tensor:
    """The logits after every step that the settings ask for. `seen` is needed for a repetition penalty alone."""
    for name, neutral, step in STEPS:
        value = getattr(settings, name)
        if value != neutral:
            logits = step(logits, value, seen)
    return logits


def choose(logits: Tensor, settings: SamplingSettings, chance: Tensor, seen: Tensor | None = None) -> Tensor:
    """One token a row: logits (B, V), chance (B,) in [0, 1), seen (B, V) or None -> (B,)."""
    logits = shaped(logits.float(), settings, seen)
    return draw(logits, chance) if settings.temperature else logits.argmax(-1)


def draw(logits: Tensor, chance: Tensor) -> Tensor:
    """The token at which the cumulated probability passes the chance: logits (B, V), chance (B,) -> (B,).

    One number a token, so that what a row draws does not depend on the rows beside it.
    """
    mass = logits.double().softmax(-1).cumsum(-1)
    total = mass[:, -1:]
    point = torch.minimum(chance.to(mass)[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(mass, point, right=True).squeeze(-1)
