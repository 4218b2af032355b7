"""What a person gets who loads a model: an engine that writes, or an answerer for a model with heads."""

import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.answer import Answerer
from danlu.generate.engine import Engine
from danlu.models.classifier import Classifier
from danlu.recipes.start import DTYPES, find_device
from danlu.train.hardware import compute_precision


def put_to_use(word: str, device: str = "auto", dtype: str | None = None) -> Engine | Answerer:
    """An answerer multiplies in bf16 where the processor does so natively, unless a dtype is asked for.

    E1012 for a device, E1102 for a dtype that is none; errors of `Checkpoint.load`.
    """
    if dtype is not None and dtype not in DTYPES:
        raise DanluError("E1102", name="dtype", found=dtype, possible=list(DTYPES))
    place: torch.device = find_device(device)
    checkpoint = Checkpoint.load(word, device=place, dtype=DTYPES[dtype] if dtype else None)
    if not isinstance(checkpoint.model, Classifier):
        return Engine(checkpoint)
    return Answerer(checkpoint, dtype is None and compute_precision("auto", place) == torch.bfloat16)
