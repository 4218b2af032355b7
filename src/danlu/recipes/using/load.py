"""What a person gets who loads a model: an engine that writes, an answerer for a model with heads, or a matcher of
pictures and texts."""

from collections.abc import Mapping

import torch

from danlu.adapt import switch
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.answer import Answerer
from danlu.generate.engine import Engine
from danlu.generate.matching import Matcher
from danlu.generate.seeing import Seer
from danlu.models.classifier import Classifier
from danlu.models.dual import DualEncoder
from danlu.models.multimodal import MultimodalModel
from danlu.prompt.prompter import Prompter
from danlu.recipes.prompting.opening import holds_prompt, open_prompt
from danlu.recipes.starting.start import DTYPES, find_device
from danlu.train.hardware import compute_precision


def put_to_use(
    word: str, device: str = "auto", dtype: str | None = None, base: str | None = None,
    adapters: Mapping[str, str] | None = None, prompt: str | None = None,
) -> Engine | Answerer | Matcher | Prompter:  # fmt: skip
    """An answerer multiplies in bf16 where the processor does so natively, unless a dtype is asked for.

    base: the model below an adapter. adapters: more of them by name, of which the first works. prompt: the file of one,
    by which the model shall classify. E1012 for a device, E1102 for a dtype that is none; errors of `Checkpoint.load`
    and `attached`, and of prompts (E2301 ...).
    """
    if dtype is not None and dtype not in DTYPES:
        raise DanluError("E1102", name="dtype", found=dtype, possible=list(DTYPES))
    if prompt is not None or holds_prompt(word):
        return open_prompt(word, prompt, device, "auto" if dtype is None else "float32")
    place: torch.device = find_device(device)
    checkpoint = Checkpoint.load(word, device=place, dtype=DTYPES[dtype] if dtype else None, base=base)
    for name, folder in (adapters or {}).items():
        checkpoint = checkpoint.attached(name, folder)
    if adapters:
        switch(checkpoint.model, next(iter(adapters)))
    if isinstance(checkpoint.model, DualEncoder):
        return Matcher(checkpoint)
    if isinstance(checkpoint.model, MultimodalModel):
        return Seer(checkpoint)
    if not isinstance(checkpoint.model, Classifier):
        return Engine(checkpoint)
    return Answerer(checkpoint, dtype is None and compute_precision("auto", place) == torch.bfloat16)
