"""One tower of text: encoders (BERT, RoBERTa) and decoders (GPT-2/3, OPT, PaLM, Llama, Mistral, Qwen)."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from danlu.nn.attention import Attention
from danlu.nn.cache import Cache
from danlu.nn.embedding import TokenEmbedding, TokenEmbeddingConfig
from danlu.nn.heads import DetectorHead, HeadConfig, LanguageHead, NoHead, PairHead
from danlu.nn.initialize import InitialConfig
from danlu.nn.marks import Marks, Read
from danlu.nn.mlp import ActivationName
from danlu.nn.transformer import Transformer, TransformerConfig
from danlu.settings import Settings


class LanguageModelConfig(Settings):
    kind: Literal["language"] = "language"
    embedding: TokenEmbeddingConfig
    transformer: TransformerConfig
    head: HeadConfig = HeadConfig()
    initial: InitialConfig = InitialConfig()
    pairs: bool = False  # a second head, for questions about two texts
    detector: ActivationName | None = None  # in the vocabulary's place, a head that says which tokens were replaced
    generator: "LanguageModelConfig | None" = None  # what replaces them while the detector is trained (ELECTRA)

    @property
    def vocabulary(self) -> int:
        return self.embedding.vocabulary

    @property
    def length(self) -> int | None:
        """The longest row the model was made for; None: any."""
        return longest(self.embedding, self.transformer)

    @property
    def causal(self) -> bool:
        return self.transformer.causal


def longest(embedding: TokenEmbeddingConfig, transformer: TransformerConfig) -> int | None:
    positions = embedding.positions or transformer.positions
    return positions.length if positions else None


class Tower(nn.Module):
    """An embedding and a transformer: tokens (B, T) -> hidden states (B, T, D)."""

    def __init__(self, embedding: TokenEmbeddingConfig, transformer: TransformerConfig):
        super().__init__()
        self.embedding = TokenEmbedding(transformer.width, embedding)
        self.transformer = Transformer(transformer)

    def forward(
        self, tokens: Tensor, valid: Tensor | None = None, segments: Tensor | None = None, steps: Tensor | None = None,
        documents: Tensor | None = None, positions: Tensor | None = None, languages: Tensor | None = None,
        cache: Cache | None = None, read: Read = None, whole: bool = False, branches: Tensor | None = None,
        seen: tuple[Tensor, Tensor] | None = None, **memory: Any,
    ) -> Tensor:  # fmt: skip
        """tokens, and each mark that is given: (B, T). Positions count a document's valid tokens, unless given. seen:
        as of `TokenEmbedding`.

        read: the one token of each row whose hidden state is wanted; then (B, 1, D). whole: the states of a prompt too.
        """
        valid = None if valid is None else valid.bool()
        if positions is None:
            positions = count_positions(tokens, valid, documents)
            if cache is not None:
                positions = positions + cache.next_positions()
        marks = Marks(positions + self.prefix, steps, valid, documents, branches)
        prompt = self.embedding.prompts.count if self.embedding.prompts and not (cache and cache.length) else 0
        if prompt:
            marks = marks.after(prompt)
            segments, languages = (None if mark is None else pad(mark, (prompt, 0)) for mark in (segments, languages))
        x = self.embedding(tokens, marks.positions, segments, languages, seen)
        if read is None:
            hidden: Tensor = self.transformer(x, marks, cache=cache, **memory)
            return hidden if whole else hidden[:, prompt:]
        read = read if isinstance(read, int) and read < 0 else read + prompt
        one: Tensor = self.transformer(x, marks, cache=cache, read=read, **memory)
        return one

    @property
    def prefix(self) -> int:
        """How many positions are taken by learned keys and values that come before every token."""
        first = self.transformer.blocks[0].attention
        return first.prefixes.count if isinstance(first, Attention) and first.prefixes else 0


def count_positions(tokens: Tensor, valid: Tensor | None = None, documents: Tensor | None = None) -> Tensor:
    """0, 1, 2 ... over valid tokens, from 0 again where a document starts: (B or 1, T).

    Because padding is not counted, rows padded left, right or not at all have the same positions.
    """
    if valid is None:
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        before = positions
    else:
        seen = valid.cumsum(1)
        positions, before = (seen - 1).clamp(min=0), seen - valid.long()
    if documents is None:
        return positions
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return (positions - torch.where(starts, before, 0).cummax(1).values).clamp(min=0)


class LanguageModel(nn.Module):
    """Tokens to logits: (B, T) -> (B, T, V)."""

    def __init__(self, config: LanguageModelConfig):
        super().__init__()
        self.config = config
        self.tower = Tower(config.embedding, config.transformer)
        width = config.transformer.width
        self.head = NoHead() if config.detector else LanguageHead(width, self.tower.embedding, config.head)
        self.pairs = PairHead(width) if config.pairs else None
        self.detector = DetectorHead(width, config.detector) if config.detector else None
        self.generator = LanguageModel(config.generator) if config.generator else None
        if self.generator is not None:
            self._share(self.generator)

    def hidden(
        self, tokens: Tensor, valid: Tensor | None = None, segments: Tensor | None = None, steps: Tensor | None = None,
        documents: Tensor | None = None, positions: Tensor | None = None, languages: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:  # fmt: skip
        """What the head reads: (B, T, D).

        tokens (B, T). valid (B, T): false for padding. segments (B, T): 0 or 1, BERT's two sentences. steps (B, T):
        who sees whom, see `attention_mask`; None: a decoder's 0 1 2 or an encoder's 0 0 0. documents (B, T): tokens of
        different documents do not see each other. positions (B or 1, T): counted where not given. languages (B, T):
        their numbers, for a model that tells them apart (XLM). cache: of the tokens before.
        """
        hidden: Tensor = self.tower(tokens, valid, segments, steps, documents, positions, languages, cache=cache)
        return hidden

    def forward(self, tokens: Tensor, valid: Tensor | None = None, **inputs: Any) -> Tensor:
        """Takes what `hidden` takes. Of a detector: (B, T, 1), above 0 where a token seems replaced."""
        logits: Tensor = (self.detector or self.head)(self.hidden(tokens, valid, **inputs))
        return logits

    def _share(self, generator: "LanguageModel") -> None:
        """The tables of tokens, positions and segments are those of both (Clark et al. 2020, 3.1)."""
        mine, theirs = self.tower.embedding, generator.tower.embedding
        for table in ("tokens", "positions", "segments"):
            if (own := getattr(mine, table)) is not None:
                getattr(theirs, table).weight = own.weight
        if generator.config.head.tied:
            generator.head.output.weight = mine.tokens.weight

    def new_cache(self, capacity: int = 0) -> Cache:
        return Cache(self.config.transformer.depth, capacity)
