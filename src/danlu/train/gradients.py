"""The gradients of one step, exactly those of the whole batch, however small the pieces it is taken in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from danlu import files
from danlu.data.batch import Batch
from danlu.data.order import key
from danlu.train.balance import Balance
from danlu.train.divided import own
from danlu.train.hardware import autocast, set_chance
from danlu.train.objectives import Whole
from danlu.train.pace import count_tokens
from danlu.train.parallel import Piece, Single


@dataclass(frozen=True)
class Measured:
    """What one step found out."""

    loss: float
    losses: dict[str, float]  # means over the targets of the step
    norm: float  # of the gradient, before clipping
    norms: dict[str, float] = field(default_factory=dict)  # of each loss's own, where gradients are taken apart
    weights: dict[str, float] = field(default_factory=dict)  # by which losses were balanced


class Gradients:
    """Takes the gradients of an objective; all chance in a piece is a function of (seed, position, piece)."""

    def __init__(self, layout: Single, precision: torch.dtype, seed: int, balance: Balance | None = None):
        self.layout, self.precision, self.seed = layout, precision, seed
        self.balance = balance or Balance(list(layout.objective.weights))
        self.objective, self.device, self.world = layout.objective, layout.device, layout.world
        self.parameters = [parameter for parameter in layout.trained.parameters() if parameter.requires_grad]

    def counts(self, batches: Sequence[Batch]) -> tuple[dict[str, int], int]:
        """Of a whole step: targets by loss, and tokens; those of all processes."""
        counts = dict.fromkeys(self.objective.weights, 0)
        for batch in batches:
            for name, count in self.objective.counts(batch).items():
                counts[name] += count
        *every, tokens = map(int, self.world.sums([*counts.values(), sum(map(count_tokens, batches))]))
        return dict(zip(counts, every, strict=True)), tokens

    def take(self, batches: Sequence[Batch], counts: Mapping[str, int], position: int, rows: int | None) -> Measured:
        """Add the gradients of sum(weight x total / count) to the parameters, `rows` rows at a time.

        position: the step's place in the data. A loss without a target takes no part.
        """
        own, more = self.objective.weights, self.balance.weights()
        weights = {name: own[name] * more[name] / count for name, count in counts.items() if count}
        totals = {name: torch.zeros((), device=self.device) for name in weights}
        norms: dict[str, float] = {}
        if self.balance.apart and len(weights) > 1:
            norms = self._take_apart(batches, weights, totals, position, rows)
        else:
            self._add(batches, weights, totals, position, rows, 0)
        norm = torch.nn.utils.get_total_norm(self._gradients())
        # The one place of a step that waits for the device: whether to update at all depends on these numbers.
        length, *mine = torch.stack([norm, *totals.values()]).tolist()
        length, sums = self.layout.total(length, mine)
        losses = {name: total / counts[name] for name, total in zip(totals, sums, strict=True)}
        return Measured(sum(own[name] * loss for name, loss in losses.items()), losses, length, norms,
                        {name: more[name] for name in losses} if self.balance.plain() else {})  # fmt: skip

    def _add(
        self, batches: Sequence[Batch], weights: Mapping[str, float], totals: Mapping[str, Tensor], position: int,
        rows: int | None, before: int,
    ) -> int:  # fmt: skip
        """Add gradients, and the losses to their totals. before: pieces that this step has had; how many there are
        now."""
        pieces = self._related(self.layout.pieces(batches, rows), position)
        for index, (piece, counted) in enumerate(pieces):
            with self.layout.taking(last=index == len(pieces) - 1):
                found = self._found(piece, position, before + index)
                loss = torch.stack([weight * found[name] for name, weight in weights.items()]).sum()
                (loss if counted else 0.0 * loss).backward()  # type: ignore[no-untyped-call]
            for name in weights if counted else ():
                totals[name].add_(found[name].detach())
            files.reached("after piece")
        return before + len(pieces)

    def _take_apart(
        self, batches: Sequence[Batch], weights: Mapping[str, float], totals: Mapping[str, Tensor], position: int,
        rows: int | None,
    ) -> dict[str, float]:  # fmt: skip
        """The gradient of each loss from its own batches, then what the rule makes of them; the lengths of those of
        parameters that all losses share."""
        rows_of, touched, pieces = [], [], 0
        for name, weight in weights.items():
            some = [batch for batch in batches if name in batch.targets]
            pieces = self._add(some, {name: weight}, totals, position, rows, pieces)
            touched.append([parameter.grad is not None for parameter in self.parameters])
            each = (torch.zeros_like(one) if one.grad is None else one.grad for one in self.parameters)
            rows_of.append(torch.cat([gradient.flatten() for gradient in each]))
            self.forget()
        sizes = [parameter.numel() for parameter in self.parameters]
        shared = [all(marks) for marks in zip(*touched, strict=True)]
        parted = [zip(torch.split(row, sizes), shared, strict=True) for row in rows_of]
        norms = [torch.nn.utils.get_total_norm([part for part, wanted in parts if wanted]) for parts in parted]
        joined = torch.split(self.balance.joined(torch.stack(rows_of), position), sizes)
        for parameter, part in zip(self.parameters, joined, strict=True):
            parameter.grad = part.view_as(parameter).clone()
        return dict(zip(weights, torch.stack(norms).tolist(), strict=True))

    def rehearse(self, batch: Batch, position: int, rows: int | None) -> bool:
        """Take the gradients of one piece and forget them; whether there were parameters without one."""
        found = self._found(self.layout.pieces([batch], rows)[0][0], position, 0)
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        unused = len(self._gradients()) < len(self.parameters)
        self.forget()
        return unused

    def forget(self) -> None:
        """Give the gradients' memory back."""
        for parameter in self.parameters:
            parameter.grad = None

    def _related(self, pieces: list[Piece], position: int) -> list[Piece]:
        """The pieces; where an objective compares all rows of a step (`Whole`), with what the others ask of each."""
        objective, trained = self.objective, self.layout.trained
        if not isinstance(objective, Whole) or len(pieces) == 1:
            return pieces

        def embed(number: int) -> Any:
            self._set_chance(position, number)
            with autocast(self.device, self.precision):
                return objective.embed(trained, pieces[number][0].to(self.device))

        related = objective.whole(trained, [piece for piece, _ in pieces], embed)
        return [(piece, counted) for piece, (_, counted) in zip(related, pieces, strict=True)]

    def _found(self, piece: Batch, position: int, index: int) -> dict[str, Tensor]:
        """The summed losses of a piece, its chance its own in every process."""
        self._set_chance(position, index)
        with autocast(self.device, self.precision):
            found: dict[str, Tensor] = self.layout.losses(piece.to(self.device))
        return found

    def _set_chance(self, position: int, index: int) -> None:
        chance = key(self.seed, position, index * self.world.size + self.world.rank)
        set_chance(int(chance[0] >> 1), self.device)

    def clip(self, norm: float, longest: float | None) -> None:
        """Shorten gradients of length `norm` to `longest`."""
        if longest is not None and norm > longest:
            torch._foreach_mul_(self._gradients(), longest / norm)

    def _gradients(self) -> list[Tensor]:
        return [own(parameter.grad) for parameter in self.parameters if parameter.grad is not None]
