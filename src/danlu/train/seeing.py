"""What a language model that sees learns: answers about pictures, and one space for pictures, films and texts.

One forward pass gives both: answers are read off the tokens behind a picture, and the picture's own states, which see
nothing of what is said about it, are its vector. Captions are read once more by themselves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from danlu.data.batch import Batch
from danlu.models.multimodal import MultimodalModel
from danlu.train.contrast import ContrastSettings, PairObjective, Sides
from danlu.train.distributed import World
from danlu.train.objectives import TokenSettings, token_loss


class SeeingObjective(PairObjective):
    """The cross-entropy of answers, and `weight` times the loss of pairs (kind, as of `PairObjective`).

    batch.inputs: what `hidden` takes. batch.targets: tokens (B, T); where there are captions, captions and
    captions_valid (B, S), alike (B,). Batches without captions, or of text alone, take no part in the second.
    """

    def __init__(
        self, kind: str, weight: float, tokens: TokenSettings | None = None, settings: ContrastSettings | None = None,
        world: World | None = None,
    ):  # fmt: skip
        super().__init__(kind, settings, world)
        self.tokens = tokens or TokenSettings()
        self.weights: Mapping[str, float] = {"tokens": 1.0, kind: weight}

    def counts(self, batch: Batch) -> dict[str, int]:
        return {"tokens": batch.count("tokens"), self.kind: batch.rows if "captions" in batch.targets else 0}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        trained, inputs = cast(MultimodalModel, model), cast(Mapping[str, Any], batch.inputs)
        hidden = trained.hidden(**inputs)
        tokens = token_loss(trained, hidden, batch.targets["tokens"], self.tokens)
        if "captions" not in batch.targets:
            return {"tokens": tokens, self.kind: hidden.new_zeros(())}
        return {"tokens": tokens, self.kind: self.compared(trained, self._sides(trained, hidden, batch), batch.targets)}

    def embed(self, model: nn.Module, batch: Batch) -> Sides:
        """Both sides of each pair, (B, E)."""
        trained, inputs = cast(MultimodalModel, model), cast(Mapping[str, Any], batch.inputs)
        return self._sides(trained, trained.hidden(**inputs), batch)

    def whole(self, model: nn.Module, pieces: Sequence[Batch], embed: Callable[[int], Sides]) -> list[Batch]:
        if "captions" not in pieces[0].targets:
            return list(pieces)
        return super().whole(model, pieces, embed)

    def _sides(self, model: MultimodalModel, hidden: Tensor, batch: Batch) -> Sides:
        images = model.pooled(hidden, batch.inputs["tokens"] == model.config.media)
        return images, model.embed_text(batch.targets["captions"], batch.targets["captions_valid"])
