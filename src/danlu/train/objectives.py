"""What training makes smaller: functions of a model and a batch.

An objective gives summed losses and, apart, how many targets they sum over, so that a trainer can cut a batch into
pieces of any size and still take the mean over the whole.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from danlu.data.batch import IGNORED, Batch
from danlu.errors import DanluError
from danlu.models.language import LanguageModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.nn.loss import head_loss
from danlu.settings import Settings

Speaking = LanguageModel | SequenceToSequence  # models with a vocabulary
DRAWN = 512  # tokens that are drawn at once: so many rows of a vocabulary in float32


class Objective(Protocol):
    """Losses by name. The training loss is the sum over names of weight x (summed loss / count)."""

    weights: Mapping[str, float]

    def counts(self, batch: Batch) -> dict[str, int]:
        """How many targets each loss sums over."""
        ...

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Summed losses, each a float32 scalar."""
        ...


@runtime_checkable
class Whole(Protocol):
    """An objective that compares each row of a step with all others, and so cannot sum over pieces by itself."""

    def embed(self, model: nn.Module, batch: Batch) -> Any:
        """What is compared, of one piece."""
        ...

    def whole(self, model: nn.Module, pieces: Sequence[Batch], embed: Callable[[int], Any]) -> list[Batch]:
        """The pieces of a step with what their losses need of the others. embed: `embed` of the piece of a number."""
        ...


class TokenSettings(Settings):
    """Options of the token loss."""

    smoothing: float = 0.0  # label smoothing, Szegedy et al. 2016
    z_weight: float = 0.0  # PaLM uses 1e-4


def token_loss(model: Speaking, hidden: Tensor, targets: Tensor, settings: TokenSettings) -> Tensor:
    """Summed cross-entropy over the vocabulary, wherever a token has a target.

    The vocabulary is only looked at there: 15 % of the positions of a masked batch.
    """
    hidden, targets = _asked(hidden, targets)
    features, output = model.head.features(hidden), model.head.output
    return head_loss(features, output.weight, output.bias, targets, settings.smoothing, settings.z_weight)


def pair_loss(model: Speaking, hidden: Tensor, targets: Tensor, settings: TokenSettings) -> Tensor:
    """Summed cross-entropy of two answers, at the first token of each pair. E1506 where the model has no such head."""
    if not isinstance(model, LanguageModel) or model.pairs is None:
        raise DanluError("E1506")
    hidden, targets = _asked(hidden, targets)
    return cross_entropy(model.pairs(hidden).float(), targets, reduction="sum")


# What each kind of target is learnt by.
LOSSES: Mapping[str, Callable[[Speaking, Tensor, Tensor, TokenSettings], Tensor]] = {
    "tokens": token_loss,
    "pairs": pair_loss,
}


class TokenObjective:
    """Losses at the places of a batch that ask for something, from one forward pass.

    Tokens serve masked, causal, span, infilling and prefix training alike. weights: by the name of the targets. losses:
    that name -> one of LOSSES, where they differ: batches of several objectives that take turns. A batch has the
    targets of its turn alone.
    """

    def __init__(
        self, settings: TokenSettings | None = None, weights: Mapping[str, float] | None = None,
        losses: Mapping[str, str] | None = None,
    ):  # fmt: skip
        self.settings = settings or TokenSettings()
        self.weights: Mapping[str, float] = weights or {"tokens": 1.0}
        self.losses = losses or {name: name for name in self.weights}

    def counts(self, batch: Batch) -> dict[str, int]:
        return {name: batch.count(name) if name in batch.targets else 0 for name in self.weights}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        trained = cast(Speaking, model)
        inputs: Mapping[str, Any] = batch.inputs
        hidden = trained.hidden(**inputs)
        return {
            name: LOSSES[self.losses[name]](trained, hidden, batch.targets[name], self.settings)
            if name in batch.targets
            else hidden.new_zeros(())
            for name in self.weights
        }


class ReplacedObjective(TokenObjective):
    """ELECTRA's two losses (Clark et al. 2020, 2): the generator fills masks, and the detector finds which tokens are
    not what they were. The generator is not trained to deceive: no gradient passes through what it draws.

    Targets: `tokens`, what was hidden; `replaced`, every token as it was, IGNORED at padding.
    """

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        detector = cast(LanguageModel, model)
        generator = detector.generator
        if generator is None:
            raise DanluError("E1509")
        inputs: Mapping[str, Any] = batch.inputs
        hidden = generator.hidden(**inputs)
        tokens = token_loss(generator, hidden, batch.targets["tokens"], self.settings)
        seen = self.deceived(generator, hidden, batch)
        originals = batch.targets["replaced"]
        real = originals != IGNORED
        logits = detector(**{**inputs, "tokens": seen}).squeeze(-1)[real].float()
        replaced = binary_cross_entropy_with_logits(logits, (seen != originals)[real].float(), reduction="sum")
        return {"tokens": tokens, "replaced": replaced}

    @staticmethod
    @torch.no_grad()
    def deceived(generator: LanguageModel, hidden: Tensor, batch: Batch) -> Tensor:
        """What the detector reads, (B, T): at hidden places a token as likely as the generator thinks it.

        Chance comes with the batch, so that it is the same in pieces of any size, and after a resume."""
        asked = batch.targets["tokens"] != IGNORED
        features = generator.head.features(hidden[asked])
        chance = batch.targets["chance"][asked].float() / 2**31
        parts = zip(torch.split(features, DRAWN), torch.split(chance, DRAWN), strict=True)
        drawn = [_drawn(generator.head.output(part), by) for part, by in parts]
        tokens = batch.inputs["tokens"].clone()
        tokens[asked] = torch.cat(drawn) if drawn else tokens[asked]
        return tokens


def _drawn(logits: Tensor, chance: Tensor) -> Tensor:
    """The token at which the summed probabilities pass `chance`: (N, V), (N,) -> (N,)."""
    summed = logits.float().softmax(-1).cumsum(-1)
    return (summed < chance[:, None] * summed[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)


def _asked(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, D) and (B, T) -> the places that have a target: (N, D), (N,)."""
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    asked = targets != IGNORED
    if bool(asked.all()):
        return hidden, targets
    chosen = asked.nonzero().squeeze(1)
    return hidden.index_select(0, chosen), targets.index_select(0, chosen)
