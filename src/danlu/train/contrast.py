"""Learning from pairs: each picture shall be closer to its own text than to all others of the batch, and each text.

A batch is one unit here, whatever the number of processes and pieces: every row is compared with all rows. Across
processes, embeddings are gathered with their gradients. Where a batch does not fit into one forward pass, all pieces
are embedded first without gradients, the loss is taken over all of them, and each piece is embedded again to hand
on its part of the gradient (Gao et al. 2021, GradCache).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from pydantic import Field
from torch import Tensor, distributed, nn
from torch.nn.functional import logsigmoid

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.models.dual import DualEncoder, Similarity
from danlu.models.multimodal import MultimodalModel
from danlu.settings import Settings
from danlu.train.distributed import World

Matching = DualEncoder | MultimodalModel  # have a space that texts and pictures share
Sides = tuple[Tensor, Tensor]  # images and texts, (B, E) each


class ContrastSettings(Settings):
    """smoothing: the share of a target that is spread over all rows (ALIGN: 0.1). equal: rows with the same caption, or
    the same picture, are right answers to each other."""

    smoothing: float = Field(0.0, ge=0, lt=1)
    equal: bool = True


def contrastive_loss(
    similarity: Similarity, own: Sides, every: Sides, right: Tensor, settings: ContrastSettings
) -> Tensor:
    """Cross-entropy of the right text among all, and of the right picture, halved (Radford et al. 2021, figure 3).

    own (B, E), every (N, E), right (B, N) booleans -> the sum over the B own rows.
    """
    wanted = right.float() / right.sum(1, keepdim=True)
    wanted = (1 - settings.smoothing) * wanted + settings.smoothing / right.shape[1]
    to_texts = similarity(own[0], every[1])
    to_images = similarity(every[0], own[1]).T
    loss: Tensor = -0.5 * (wanted * (to_texts.log_softmax(1) + to_images.log_softmax(1))).sum()
    return loss


def sigmoid_loss(similarity: Similarity, own: Sides, every: Sides, right: Tensor, settings: ContrastSettings) -> Tensor:
    """Each pair by itself: does it belong together? (Zhai et al. 2023, algorithm 1)."""
    logits: Tensor = similarity(own[0], every[1])
    return -logsigmoid(torch.where(right, logits, -logits)).sum()


CONTRASTS: Mapping[str, Callable[[Similarity, Sides, Sides, Tensor, ContrastSettings], Tensor]] = {
    "contrastive": contrastive_loss,
    "sigmoid": sigmoid_loss,
}


def similarity_of(model: Matching) -> Similarity:
    """E2216 for a model without a common space."""
    if model.similarity is None:
        raise DanluError("E2216")
    return model.similarity


class PairObjective:
    """One of the losses of `CONTRASTS`, a mean over the rows of the whole batch.

    batch.inputs: tokens, images, and valid where the text tower wants it. batch.targets["alike"] (B,): rows of the same
    number belong together.
    """

    def __init__(self, kind: str = "contrastive", settings: ContrastSettings | None = None, world: World | None = None):
        self.kind, self.settings, self.world = kind, settings or ContrastSettings(), world or World()
        self.weights: Mapping[str, float] = {kind: 1.0}

    def counts(self, batch: Batch) -> dict[str, int]:
        return {self.kind: batch.rows}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {self.kind: self.compared(model, self.embed(model, batch), batch.targets)}

    def compared(self, model: nn.Module, sides: Sides, targets: Mapping[str, Tensor]) -> Tensor:
        """The summed loss of rows; or, where a piece has been told gradients, what hands them on."""
        trained = cast(Matching, model)
        if trained.training:
            similarity_of(trained).clamp()
        if GRADIENTS[0] in targets:
            return _handed_on(similarity_of(trained), sides, targets)
        return self._loss(trained, sides, targets["alike"])

    def embed(self, model: nn.Module, batch: Batch) -> Sides:
        """Both sides of each pair, (B, E)."""
        trained, inputs = cast(Matching, model), batch.inputs
        return trained.embed_image(inputs["images"]), trained.embed_text(inputs["tokens"], inputs.get("valid"))

    def whole(self, model: nn.Module, pieces: Sequence[Batch], embed: Callable[[int], Sides]) -> list[Batch]:
        """The pieces of one batch, each with the gradient it has to hand on and its share of the loss.

        embed: the sides of the piece of this number, with the chance it will have again when it hands on.
        """
        trained = cast(Matching, model)
        similarity = similarity_of(trained)
        similarity.clamp()
        with torch.no_grad():
            found = [embed(number) for number in range(len(pieces))]
        images, texts = (torch.cat(side).requires_grad_() for side in zip(*found, strict=True))
        alike = torch.cat([piece.targets["alike"] for piece in pieces]).to(images.device)
        loss = self._loss(trained, (images, texts), alike)
        learned = list(similarity.parameters())
        to_images, to_texts, *to_learned = torch.autograd.grad(loss, [images, texts, *learned])
        rows = [piece.rows for piece in pieces]
        shares = torch.stack([loss.detach(), *to_learned]).div(sum(rows)).expand(sum(rows), -1)
        asked = (torch.split(each, rows) for each in (to_images, to_texts, shares))
        parts = zip(pieces, *asked, strict=True)
        return [
            replace(piece, targets={**piece.targets, **dict(zip(GRADIENTS, given, strict=True))})
            for piece, *given in parts
        ]

    def _loss(self, model: Matching, own: Sides, alike: Tensor) -> Tensor:
        everywhere = model.training and not self.world.alone
        every, others = own, alike
        if everywhere:
            every, others = (gathered(own[0], self.world), gathered(own[1], self.world)), gathered(alike, self.world)
        if self.settings.equal:
            right = alike[:, None] == others[None, :]
        else:
            lengths = [int(each[0]) for each in self.world.numbers([len(alike)])] if everywhere else []
            first = sum(lengths[: self.world.rank])
            right = torch.eye(len(others), dtype=torch.bool, device=alike.device)[first : first + len(alike)]
        return CONTRASTS[self.kind](similarity_of(model), own, every, right, self.settings)


# What a piece is told beside its rows: gradients of both embeddings (B, E), and its share (B, 1 + learned) of the loss
# and of the gradients of the similarity's own parameters.
GRADIENTS = ("images_gradient", "texts_gradient", "shares")


def _handed_on(similarity: Similarity, sides: Sides, targets: Mapping[str, Tensor]) -> Tensor:
    """A number of the loss's share in value, and whose gradient is the piece's part of the loss's."""
    loss, *learned = targets["shares"].sum(0)
    carried = (sides[0] * targets["images_gradient"]).sum() + (sides[1] * targets["texts_gradient"]).sum()
    for parameter, gradient in zip(similarity.parameters(), learned, strict=True):
        carried = carried + parameter * gradient
    handed: Tensor = loss + carried - carried.detach()
    return handed


def gathered(rows: Tensor, world: World) -> Tensor:
    """The rows of all processes, by rank; a gradient goes back to whom the row belongs: (B, ...) -> (N, ...)."""
    lengths = [int(each[0]) for each in world.numbers([len(rows)])]
    every: Tensor = _Gathered.apply(rows, lengths, world.rank)  # type: ignore[no-untyped-call]
    return every


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, lengths: list[int], rank: int) -> Tensor:
        ctx.lengths, ctx.rank = lengths, rank
        padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
        padded[: len(rows)] = rows
        table = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(table, padded)
        return torch.cat([each[:length] for each, length in zip(table, lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        """Every process has used every row: what they all ask of it is added."""
        gradient = outputs[0].contiguous()
        distributed.all_reduce(gradient)
        return torch.split(gradient, ctx.lengths)[ctx.rank], None, None
