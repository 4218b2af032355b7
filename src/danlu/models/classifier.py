"""A tower that reads and heads that answer: classes, numbers, tags, spans, choices, vectors.

The tower is an encoder, a decoder, or both in a row; heads go by name, so that several tasks can share one tower.
Shapes: B rows, K options of a row (where there are options), T tokens, D width.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from danlu.models.language import LanguageModelConfig, Tower
from danlu.models.sequence_to_sequence import SequenceToSequenceConfig
from danlu.nn.dropout import Dropout
from danlu.nn.initialize import InitialConfig
from danlu.nn.marks import Read
from danlu.nn.transformer import TransformerConfig
from danlu.settings import Settings

Form = Literal["row", "token", "span", "choice", "vector"]
Problem = Literal["single", "several", "number"]
Place = Literal["first", "last", "mean"]


class AnswerConfig(Settings):
    """One head.

    form: what it answers for: a row, each token, where a span begins and ends, which of several rows, or a row's
    vector. problem: one of the labels, any of them, or numbers (named by the labels). at: the hidden state that stands
    for a row; last is the last valid one. dense: a layer and tanh come first (BERT's pooler).
    """

    form: Form = "row"
    problem: Problem = "single"
    labels: tuple[str, ...] = ()
    at: Place = "first"
    dense: bool = False
    bias: bool = True
    dropout: float = Field(0.1, ge=0, lt=1)

    @property
    def outputs(self) -> int:
        """Numbers the head gives for each thing it answers for; 0: the hidden state itself."""
        return {"span": 2, "choice": 1, "vector": 0}.get(self.form, len(self.labels))


class ClassifierConfig(Settings):
    """decodes: whether the decoder of an encoder–decoder reads along; it is left out otherwise."""

    kind: Literal["classifier"] = "classifier"
    base: Annotated[LanguageModelConfig | SequenceToSequenceConfig, Field(discriminator="kind")]
    heads: dict[str, AnswerConfig]
    decodes: bool = True

    @property
    def vocabulary(self) -> int:
        return self.base.vocabulary

    @property
    def length(self) -> int | None:
        """The longest row the model was made for; None: any."""
        return self.base.length

    @property
    def causal(self) -> bool:
        """Whether only the last token has seen the whole row."""
        return isinstance(self.base, LanguageModelConfig) and self.base.causal

    @property
    def initial(self) -> InitialConfig:
        return self.base.initial

    @property
    def width(self) -> int:
        return self.transformer.width

    @property
    def transformer(self) -> TransformerConfig:
        """Of the tower that heads read."""
        if isinstance(self.base, LanguageModelConfig):
            return self.base.transformer
        return self.base.decoder if self.decodes else self.base.encoder


class AnswerHead(nn.Module):
    """Hidden states to answers; see `AnswerConfig`."""

    def __init__(self, width: int, config: AnswerConfig):
        super().__init__()
        self.config = config
        self.dense = nn.Linear(width, width) if config.dense else None
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(width, config.outputs, config.bias) if config.outputs else None

    def forward(self, hidden: Tensor, valid: Tensor | None = None) -> Tensor:
        """hidden (B, T, D), valid (B, T) -> row (B, C), token (B, T, C), span (B, T, 2), vector (B, D) of length 1;
        hidden (B, K, T, D) -> choice (B, K), vector (B, K, D)."""
        x = hidden if self.config.form in ("token", "span") else pool(hidden, valid, self.config.at)
        if self.dense is not None:
            x = torch.tanh(self.dense(x))
        if self.output is None:
            return normalize(x.float(), dim=-1)
        x = self.dropout(x)
        with torch.autocast(x.device.type, enabled=False):  # bf16 would round the answers: a number of 4 to 0.03
            out: Tensor = self.output(x.to(self.output.weight.dtype))
        return out.squeeze(-1) if self.config.form == "choice" else out


def pool(hidden: Tensor, valid: Tensor | None, at: Place) -> Tensor:
    """The one vector that stands for each row: (..., T, D), valid (..., T) -> (..., D)."""
    if at == "first":
        return hidden[..., 0, :]
    if at == "mean":
        if valid is None:
            return hidden.mean(-2)
        share = valid.to(hidden.dtype).unsqueeze(-1)
        return (hidden * share).sum(-2) / share.sum(-2).clamp(min=1)
    if valid is None:
        return hidden[..., -1, :]
    last = last_valid(valid)
    return hidden.gather(-2, last[..., None, None].expand(*last.shape, 1, hidden.shape[-1])).squeeze(-2)


def last_valid(valid: Tensor) -> Tensor:
    """The place of the last valid token: (..., T) -> (...)."""
    return (torch.arange(valid.shape[-1], device=valid.device) * valid).argmax(-1)


class Classifier(nn.Module):
    """Tokens to the answers of one head."""

    def __init__(self, config: ClassifierConfig):
        super().__init__()
        self.config = config
        base = config.base
        self.tower = self.encoder = self.decoder = None
        if isinstance(base, LanguageModelConfig):
            self.tower = Tower(base.embedding, base.transformer)
        else:
            self.encoder = Tower(base.embedding, base.encoder)
            if config.decodes:
                self.decoder = Tower(base.embedding, base.decoder)
                self.decoder.embedding.tokens.weight = self.encoder.embedding.tokens.weight
        self.heads = nn.ModuleDict({name: AnswerHead(config.width, head) for name, head in config.heads.items()})

    def hidden(
        self, tokens: Tensor, valid: Tensor | None = None, segments: Tensor | None = None, read: Read = None
    ) -> Tensor:
        """What heads read: (B, T, D). tokens, valid, segments (B, T), or (B, K, T) of rows with options, which give
        (B, K, T, D).

        read: the one token of each row whose hidden state is wanted; then (B, 1, D), and most of the last block is
        saved. A decoder behind an encoder reads the same tokens, moved by one (Lewis et al. 2020, 3.1).
        """
        if tokens.ndim > 2:
            valid, segments = (None if each is None else each.flatten(0, -2) for each in (valid, segments))
            flat = self.hidden(tokens.flatten(0, -2), valid, segments, read)
            return flat.reshape(*tokens.shape[:-1], *flat.shape[1:])
        if self.tower is not None:
            hidden: Tensor = self.tower(tokens, valid, segments, read=read)
            return hidden
        assert self.encoder is not None
        if self.decoder is None:
            memory: Tensor = self.encoder(tokens, valid, read=read)
            return memory
        memory = self.encoder(tokens, valid)
        start = tokens.new_full((len(tokens), 1), self.config.base.start)  # type: ignore[union-attr]
        moved = torch.cat([start, tokens[:, :-1]], 1)
        written: Tensor = self.decoder(moved, valid, memory=memory, memory_valid=valid, read=read)
        return written

    def answers(
        self, names: Iterable[str], tokens: Tensor, valid: Tensor | None = None, segments: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What the heads of these names give for inputs of `hidden`, from one pass; shapes as of `AnswerHead`."""
        heads = {name: self.heads[name] for name in names}
        read = self._read([self.config.heads[name] for name in heads], valid)
        hidden = self.hidden(tokens, valid, segments, read)
        return {name: head(hidden, valid if read is None else None) for name, head in heads.items()}

    def _read(self, heads: list[AnswerConfig], valid: Tensor | None) -> Read:
        """The token that is enough for all of these heads, if there is one."""
        places = {None if head.form in ("token", "span") else head.at for head in heads}
        if places == {"first"} and not self.config.transformer.causal:
            return 0
        if places == {"last"}:
            return -1 if valid is None else last_valid(valid).flatten()
        return None

    def forward(self, tokens: Tensor, valid: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """The answers of the first head."""
        name = next(iter(self.config.heads))
        return self.answers([name], tokens, valid, segments)[name]
