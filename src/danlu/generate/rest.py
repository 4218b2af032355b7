"""A model at rest: nothing dropped out, nothing remembered for gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def at_rest(model: nn.Module) -> Iterator[torch.device]:
    """Inside, the model only answers; afterwards it trains again if it did before. Gives the model's device."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            device: torch.device = next(model.parameters()).device
            yield device
    finally:
        model.train(training)
