"""How much of a model trains, and what that costs."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from danlu.nn.quantized import Codes, code_names

ADAM = 16  # bytes a trained number takes: itself, its gradient and two moments, in float32


@dataclass(frozen=True)
class Trained:
    """Numbers that train, all numbers, and bytes of memory for weights, gradients and AdamW's moments."""

    trains: int
    all: int
    memory: int

    @property
    def share(self) -> float:
        return self.trains / max(1, self.all)

    def plain(self) -> dict[str, Any]:
        return {"trains": self.trains, "parameters": self.all, "share": self.share, "memory": self.memory}


def trained(model: nn.Module) -> Trained:
    """Counted on the model as it stands; one on the meta device will do, if its base is not coded."""
    codes = code_names(model)
    parameters = [parameter for name, parameter in model.named_parameters() if name not in codes]
    trains = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    coded = {id(module.codes): module for module in model.modules() if isinstance(module, Codes)}.values()
    frozen = sum(parameter.nbytes for parameter in parameters if not parameter.requires_grad)
    frozen += sum(module.nbytes for module in coded)
    count = sum(parameter.numel() for parameter in parameters)
    count += sum(module.rows * module.columns for module in coded)
    return Trained(trains, count, trains * ADAM + frozen)
