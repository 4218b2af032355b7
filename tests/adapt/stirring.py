"""Small models with every parameter stirred, and how they answer."""

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.models.build import build
from danlu.models.families import fresh

TOKENS = torch.randint(5, 90, (2, 9), generator=torch.Generator().manual_seed(0))
FAMILIES = ("bert-tiny", "gpt2-tiny", "llama-tiny", "t5-tiny")
SIZES = {"width": 32, "heads": 4, "length": 48}


def stirred(model: nn.Module, only_trained: bool = False, seed: int = 0) -> nn.Module:
    """Every parameter moved, so that nothing holds by accident."""
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad or not only_trained:
                parameter += 0.1 * torch.randn(parameter.shape, generator=chance)
    return model


def made(name: str, **changes: object) -> Checkpoint:
    grouped = {"kv_heads": 2} if name.startswith("llama") else {}
    family, config = fresh(name, 99, **(SIZES | grouped | changes))
    return Checkpoint(family, config, stirred(build(config)).eval())  # type: ignore[arg-type]


@torch.no_grad()
def answer(model: nn.Module) -> Tensor:
    both = "sequence" in model.config.kind  # type: ignore[union-attr, operator]
    logits: Tensor = model(TOKENS, TOKENS.flip(1)) if both else model(TOKENS)
    return logits
