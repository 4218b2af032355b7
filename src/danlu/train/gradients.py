"""The gradients of one step, exactly those of the whole batch, however small the pieces it is taken in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from danlu import files
from danlu.data.batch import Batch
from danlu.data.order import key
from danlu.train.hardware import autocast, set_chance
from danlu.train.objectives import Objective


@dataclass(frozen=True)
class Measured:
    """What one step found out."""

    loss: float
    losses: dict[str, float]  # means over the targets of the step
    norm: float  # of the gradient, before clipping


class Gradients:
    """Takes the gradients of an objective; all chance in a piece is a function of (seed, position, piece)."""

    def __init__(
        self, model: nn.Module, objective: Objective, device: torch.device, precision: torch.dtype, seed: int
    ):  # fmt: skip
        self.model, self.objective = model, objective
        self.device, self.precision, self.seed = device, precision, seed
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def counts(self, batches: Sequence[Batch]) -> dict[str, int]:
        """Targets of a whole step, by loss."""
        counts = dict.fromkeys(self.objective.weights, 0)
        for batch in batches:
            for name, count in self.objective.counts(batch).items():
                counts[name] += count
        return counts

    def take(self, batches: Sequence[Batch], counts: Mapping[str, int], position: int, rows: int | None) -> Measured:
        """Add the gradients of sum(weight x total / count) to the parameters, `rows` rows at a time.

        position: the step's place in the data. A loss without a target takes no part.
        """
        weights = {name: self.objective.weights[name] / count for name, count in counts.items() if count}
        totals = {name: torch.zeros((), device=self.device) for name in weights}
        pieces = [piece for batch in batches for piece in batch.split(rows or batch.rows)]
        for index, piece in enumerate(pieces):
            set_chance(int(key(self.seed, position, index)[0] >> 1), self.device)
            with autocast(self.device, self.precision):
                found = self.objective(self.model, piece.to(self.device))
            torch.stack([weight * found[name] for name, weight in weights.items()]).sum().backward()  # type: ignore[no-untyped-call]
            for name in weights:
                totals[name] += found[name].detach()
            files.reached("after piece")
        norm = torch.nn.utils.get_total_norm(self._gradients())
        # The one place of a step that waits for the device: whether to update at all depends on these numbers.
        length, *sums = torch.stack([norm, *totals.values()]).tolist()
        losses = {name: total / counts[name] for name, total in zip(totals, sums, strict=True)}
        return Measured(sum(self.objective.weights[name] * loss for name, loss in losses.items()), losses, length)

    def clip(self, norm: float, longest: float | None) -> None:
        """Shorten gradients of length `norm` to `longest`."""
        if longest is not None and norm > longest:
            torch._foreach_mul_(self._gradients(), longest / norm)

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]
