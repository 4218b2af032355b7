"""Labels from models for rows that have none (PET, Schick and Schütze 2021): several prompts are trained on the few
rows that have labels, and what they say together of the others is learnt by one."""

from collections.abc import Sequence

import torch
from torch import Tensor

TEMPERATURE = 2.0  # section 3.2, equation 4


def together(answers: Sequence[Tensor], weights: Sequence[float], temperature: float = TEMPERATURE) -> Tensor:
    """answers: log-probabilities of each model (N, C); weights: how far each is trusted -> how much of each row belongs
    to each class, (N, C)."""
    trust = torch.tensor(weights).clamp(min=1e-6)
    mixed = (torch.stack(list(answers)) * (trust / trust.sum())[:, None, None]).sum(0)
    return (mixed / temperature).softmax(-1)
