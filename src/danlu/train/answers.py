"""The losses of heads: what a classifier should have answered.

Targets go by the name of their head; what is asked of a head says which loss.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from danlu.data.batch import IGNORED, Batch
from danlu.models.classifier import Classifier
from danlu.settings import Settings


class AnswerSettings(Settings):
    """Options of the losses of heads."""

    smoothing: float = 0.0  # label smoothing of classes, Szegedy et al. 2016
    temperature: float = 0.05  # by which similarities are divided
    # what it costs that two passes with other dropout differ; it takes two passes. R-Drop, Liang et al. 2021
    consistency: float = Field(0.0, ge=0)


Loss = Callable[[Tensor, Tensor, AnswerSettings], Tensor]


def label_loss(logits: Tensor, targets: Tensor, settings: AnswerSettings) -> Tensor:
    """logits (..., C), targets (...), `IGNORED` where nothing is asked."""
    flat, wanted = logits.flatten(0, -2), targets.flatten()
    return cross_entropy(flat, wanted, reduction="sum", ignore_index=IGNORED, label_smoothing=settings.smoothing)


def several_loss(logits: Tensor, targets: Tensor, settings: AnswerSettings) -> Tensor:
    """Each class yes or no: logits and targets (B, C)."""
    return binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def number_loss(logits: Tensor, targets: Tensor, settings: AnswerSettings) -> Tensor:
    """Squared distance: logits and targets (B, C)."""
    return mse_loss(logits, targets, reduction="sum")


def span_loss(logits: Tensor, targets: Tensor, settings: AnswerSettings) -> Tensor:
    """logits (B, T, 2), targets (B, 2): where it begins and ends."""
    return cross_entropy(logits.mT.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORED)


def pair_loss(vectors: Tensor, targets: Tensor, settings: AnswerSettings) -> Tensor:
    """vectors (B, K, D) of queries, of what belongs to them and of what does not: each query shall find its own among
    all of the batch, and the other way round (van den Oord et al. 2018; Radford et al. 2021, 2.3)."""
    queries, others = vectors[:, 0], vectors[:, 1:]
    scores = queries @ others.transpose(0, 1).flatten(0, 1).T / settings.temperature
    wanted = torch.arange(len(queries), device=vectors.device)
    back = scores[:, : len(queries)].T
    return (cross_entropy(scores, wanted, reduction="sum") + cross_entropy(back, wanted, reduction="sum")) / 2


# What each kind of answer is learnt by.
ANSWERS: Mapping[str, Loss] = {
    "labels": label_loss, "several": several_loss, "numbers": number_loss, "tags": label_loss, "spans": span_loss,
    "choices": label_loss, "pairs_of_texts": pair_loss,
}  # fmt: skip


class AnswerObjective:
    """Losses of the heads that a batch has targets for, from one forward pass.

    losses: head -> a name in ANSWERS. weights: of each head.
    """

    def __init__(
        self, losses: Mapping[str, str], settings: AnswerSettings | None = None,
        weights: Mapping[str, float] | None = None,
    ):  # fmt: skip
        self.losses, self.settings = losses, settings or AnswerSettings()
        self.weights: Mapping[str, float] = weights or dict.fromkeys(losses, 1.0)

    def counts(self, batch: Batch) -> dict[str, int]:
        return {name: batch.count(name) if name in batch.targets else 0 for name in self.weights}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        trained = cast(Classifier, model)
        names = [name for name in self.weights if name in batch.targets]
        if self.settings.consistency and trained.training:
            return self._twice(trained, batch, names)
        logits = trained.answers(names, **batch.inputs)
        found = dict.fromkeys(self.weights, batch.inputs["tokens"].new_zeros((), dtype=torch.float32))
        for name in names:
            found[name] = ANSWERS[self.losses[name]](logits[name].float(), batch.targets[name], self.settings)
        return found

    def _twice(self, model: Classifier, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        """Half of Liang et al.'s equation 4: the mean loss of two passes, and how far apart their answers are."""
        logits = model.answers(names, **{name: torch.cat([tensor, tensor]) for name, tensor in batch.inputs.items()})
        found = dict.fromkeys(self.weights, batch.inputs["tokens"].new_zeros((), dtype=torch.float32))
        for name in names:
            kind, targets = self.losses[name], batch.targets[name]
            one, other = logits[name].float().chunk(2)
            costs = [ANSWERS[kind](each, targets, self.settings) for each in (one, other)]
            apart = distance(one, other, targets, kind)
            found[name] = (costs[0] + costs[1] + self.settings.consistency / 2 * apart) / 2
        return found


def distance(one: Tensor, other: Tensor, targets: Tensor, kind: str) -> Tensor:
    """How far apart two answers are, summed over what is asked: the divergence of their distributions both ways,
    squares for numbers, nothing for vectors. Shapes as of the loss of this kind."""
    if kind == "pairs_of_texts":
        return one.new_zeros(())
    if kind == "numbers":
        return (one - other).square().sum()
    if kind == "several":
        return ((one.sigmoid() - other.sigmoid()) * (one - other)).sum()
    if kind == "spans":
        one, other = one.mT, other.mT
    first, second = one.log_softmax(-1), other.log_softmax(-1)
    return ((first.exp() - second.exp()) * (first - second)).sum(-1)[targets != IGNORED].sum()
