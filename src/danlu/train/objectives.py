"""What training makes smaller: functions of a model and a batch.

An objective gives summed losses and, apart, how many targets they sum over, so that a trainer can cut a batch into
pieces of any size and still take the mean over the whole.
"""

from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor, nn

from danlu.data.batch import IGNORED, Batch
from danlu.models.build import Model
from danlu.nn.loss import head_loss
from danlu.settings import Settings


class Objective(Protocol):
    """Losses by name. The training loss is the sum over names of weight x (summed loss / count)."""

    weights: Mapping[str, float]

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many targets each loss sums over."""
        ...

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Summed losses, each a float32 scalar."""
        ...


class TokenSettings(Settings):
    """Options of the token loss."""

    smoothing: float = 0.0  # label smoothing, Szegedy et al. 2016
    z_weight: float = 0.0  # PaLM uses 1e-4


class TokenObjective:
    """Cross-entropy wherever a token has a target; serves masked, causal, span, infilling and prefix training alike.

    The vocabulary is only looked at where there is a target: 15 % of the positions of a masked batch.
    """

    weights: Mapping[str, float] = {"tokens": 1.0}

    def __init__(self, settings: TokenSettings | None = None):
        self.settings = settings or TokenSettings()

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"tokens": batch.count("tokens")}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        trained, options = cast(Model, model), self.settings
        inputs: Mapping[str, Any] = batch.inputs
        hidden, targets = trained.hidden(**inputs).flatten(0, 1), batch.targets["tokens"].flatten()
        asked = targets != IGNORED
        if not bool(asked.all()):
            chosen = asked.nonzero().squeeze(1)
            hidden, targets = hidden.index_select(0, chosen), targets.index_select(0, chosen)
        features, output = trained.head.features(hidden), trained.head.output
        loss = head_loss(features, output.weight, output.bias, targets, options.smoothing, options.z_weight)
        return {"tokens": loss}
