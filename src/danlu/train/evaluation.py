"""How well a model does on what it was not trained on."""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import nn

from danlu import files
from danlu.data.batch import Batch
from danlu.train.objectives import Objective


class Batches(Protocol):
    """Where batches come from: a pure function of the step."""

    @property
    def steps_per_epoch(self) -> int: ...

    def batch(self, step: int) -> Batch: ...


class Stream(Batches, Protocol):
    """Batches, some of them made ahead."""

    def stream(self, first: int) -> Iterator[Batch]: ...


class HeldOut:
    """The losses of a held-out loader, each a mean over its targets; `loss` is what training would minimise."""

    def __init__(self, objective: Objective, loader: Batches, batches: int | None = None):
        """batches: how many to look at, the same ones each time; None: the whole loader."""
        self.objective, self.loader = objective, loader
        self.batches = min(batches or loader.steps_per_epoch, loader.steps_per_epoch)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        totals: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        for step in range(self.batches):
            batch = self.loader.batch(step)
            counts.update(self.objective.counts(batch))
            for name, total in self.objective(model, batch.to(device)).items():
                totals[name] += float(total)  # type: ignore[assignment]
            files.reached("in evaluation")
        means = {name: totals[name] / counts[name] for name in counts if counts[name]}
        loss = sum(self.objective.weights[name] * mean for name, mean in means.items())
        return {"loss": loss} | {f"{name}_loss": mean for name, mean in means.items()}
