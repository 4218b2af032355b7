"""What a person gets who loads a model: an engine that writes, or an answerer for a model with heads."""

import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.answer import Answerer
from danlu.generate.engine import Engine
from danlu.models.classifier import Classifier
from danlu.recipes.start import DTYPES, find_device


def put_to_use(word: str, device: str = "auto", dtype: str | None = None) -> Engine | Answerer:
    """E1012 for a device, E1102 for a dtype that is none; errors of `Checkpoint.load`."""
    if dtype is not None and dtype not in DTYPES:
        raise DanluError("E1102", name="dtype", found=dtype, possible=list(DTYPES))
    place: torch.device = find_device(device)
    checkpoint = Checkpoint.load(word, device=place, dtype=DTYPES[dtype] if dtype else None)
    return Answerer(checkpoint) if isinstance(checkpoint.model, Classifier) else Engine(checkpoint)
