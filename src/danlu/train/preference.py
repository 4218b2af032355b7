"""Learning from preferences without a reward model: DPO (Rafailov et al. 2023)."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from danlu.data.batch import IGNORED, Batch
from danlu.settings import Settings
from danlu.train.objectives import Speaking

NAME = "preferences"


class PreferenceSettings(Settings):
    """beta: how dearly moving away from the first model is paid for. likelihood: of a second loss, that of the better
    answer (a token), which keeps it likely (Pang et al. 2024)."""

    beta: float = Field(0.1, gt=0)
    likelihood: float = Field(0.0, ge=0)


class PreferenceObjective:
    """-log sigmoid(beta · (margin of the model - margin it began with)), equation 7; margins in nats of whole answers.

    Batches hold inputs (B, 2, ...), the better answer first, targets `tokens` (B, 2, T) and `before` (B, 2).
    """

    def __init__(self, settings: PreferenceSettings | None = None):
        self.settings = settings or PreferenceSettings()
        self.weights: Mapping[str, float] = {NAME: 1.0}

    def counts(self, batch: Batch) -> dict[str, int]:
        return {NAME: batch.rows}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        now = answer_likelihoods(model, batch)
        before, targets = batch.targets["before"], batch.targets["tokens"]
        margins = (now - before) @ now.new_tensor([1.0, -1.0])
        loss = -logsigmoid(self.settings.beta * margins).sum()
        if self.settings.likelihood:
            length = (targets[:, 0] != IGNORED).sum(-1).clamp(min=1)
            loss = loss - self.settings.likelihood * (now[:, 0] / length).sum()
        return {NAME: loss}


def answer_likelihoods(model: nn.Module, batch: Batch) -> Tensor:
    """The log-probability of what is asked for in each row: (B, 2) of a batch of pairs, in nats, float32."""
    speaking, targets = cast(Speaking, model), batch.targets["tokens"]
    inputs: dict[str, Any] = {name: tensor.flatten(0, 1) for name, tensor in batch.inputs.items()}
    hidden, wanted = speaking.hidden(**inputs), targets.flatten(0, 1)
    rows, places = (wanted != IGNORED).nonzero(as_tuple=True)
    logits = speaking.head(hidden[rows, places]).float()
    each = logits.log_softmax(-1).gather(-1, wanted[rows, places][:, None]).squeeze(-1)
    return torch.zeros(len(wanted), device=each.device).index_add(0, rows, each).view(targets.shape[:2])
