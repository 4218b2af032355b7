"""From hidden states to answers."""

import torch
from torch import Tensor, nn

from danlu.errors import DanluError
from danlu.nn.embedding import TokenEmbedding
from danlu.nn.mlp import Activation, ActivationName, NormConfig
from danlu.settings import Settings


class HeadConfig(Settings):
    """From hidden states back to the vocabulary."""

    tied: bool = True  # the vocabulary matrix is the embedding's
    bias: bool = False
    scale: float = 1.0  # of the features: width ** -0.5 in T5 v1.0 and PaLM
    transform: ActivationName | None = None  # adds a dense layer, this activation and a norm first (BERT)
    norm: NormConfig = NormConfig()  # of the transform
    narrow: bool = False  # the transform leads to the width of the table itself (ELECTRA's generator)


class PairHead(nn.Module):
    """Is the second text the right one? From the hidden state of a row's first token (Devlin et al. 2018, 3.1)."""

    def __init__(self, width: int):
        super().__init__()
        self.pooler = nn.Linear(width, width)
        self.output = nn.Linear(width, 2)

    def forward(self, first: Tensor) -> Tensor:
        """(..., D) -> (..., 2): 0 right, 1 wrong."""
        logits: Tensor = self.output(torch.tanh(self.pooler(first)))
        return logits


class DetectorHead(nn.Module):
    """Was this token replaced? For each token alone (Clark et al. 2020, 2)."""

    def __init__(self, width: int, activation: ActivationName):
        super().__init__()
        self.dense, self.activation = nn.Linear(width, width), Activation(activation)
        self.output = nn.Linear(width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., 1): above 0 where it says yes."""
        logits: Tensor = self.output(self.activation(self.dense(hidden)))
        return logits


class LanguageHead(nn.Module):
    """Hidden states to logits in two steps: `features`, then the vocabulary matrix `output`.

    Who needs logits at few positions, or in chunks, takes the features there and multiplies himself.
    """

    def __init__(self, width: int, embedding: TokenEmbedding, config: HeadConfig):
        super().__init__()
        vocabulary, inner = embedding.tokens.weight.shape
        self.scale = config.scale
        self.transform: nn.Sequential | None = None
        if config.transform is not None:
            self.transform = nn.Sequential()
            led = inner if config.narrow else width
            self.transform.add_module("dense", nn.Linear(width, led))
            self.transform.add_module("activation", Activation(config.transform))
            self.transform.add_module("norm", config.norm.build(led))
            width = led
        self.projection = nn.Linear(width, inner, bias=False) if inner != width else None
        self.output = nn.Linear(inner, vocabulary, config.bias)
        if config.tied:
            self.output.weight = embedding.tokens.weight

    def features(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., inner): everything before the vocabulary matrix."""
        if self.transform is not None:
            hidden = self.transform(hidden)
        if self.projection is not None:
            hidden = self.projection(hidden)
        return hidden if self.scale == 1.0 else hidden * self.scale

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        logits: Tensor = self.output(self.features(hidden))
        return logits


class NoHead(LanguageHead):
    """In the place of a vocabulary: to ask for it is E1411."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def features(self, hidden: Tensor) -> Tensor:
        raise DanluError("E1411")

    def forward(self, hidden: Tensor) -> Tensor:
        return self.features(hidden)
