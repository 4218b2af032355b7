"""An encoder that reads and a decoder that writes (T5, BART)."""

from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.functional import pad

from danlu.models.language import Tower, longest
from danlu.nn.cache import Cache
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig, LanguageHead
from danlu.nn.initialize import InitialConfig
from danlu.nn.transformer import TransformerConfig
from danlu.settings import Settings


class SequenceToSequenceConfig(Settings):
    kind: Literal["sequence_to_sequence"] = "sequence_to_sequence"
    embedding: TokenEmbeddingConfig  # of both towers; the token table is one
    encoder: TransformerConfig
    decoder: TransformerConfig
    head: HeadConfig = HeadConfig()
    initial: InitialConfig = InitialConfig()
    start: int = 0  # the token a decoder begins with

    @property
    def vocabulary(self) -> int:
        return self.embedding.vocabulary

    @property
    def length(self) -> int | None:
        """The longest row the model was made for; None: any."""
        return longest(self.embedding, self.encoder)

    @property
    def causal(self) -> bool:
        return True


class SequenceToSequence(nn.Module):
    """source (B, S), target (B, T) -> logits (B, T, V): what follows each target token."""

    def __init__(self, config: SequenceToSequenceConfig):
        super().__init__()
        self.config = config
        self.encoder = Tower(config.embedding, config.encoder)
        self.decoder = Tower(config.embedding, config.decoder)
        self.decoder.embedding.tokens.weight = self.encoder.embedding.tokens.weight
        self.head = LanguageHead(config.decoder.width, self.decoder.embedding, config.head)

    def encode(
        self, source: Tensor, source_valid: Tensor | None = None, source_documents: Tensor | None = None
    ) -> Tensor:
        """What the decoder reads: (B, S, D), and the states of a prompt before it."""
        memory: Tensor = self.encoder(source, source_valid, documents=source_documents, whole=True)
        return memory

    def hidden(
        self, source: Tensor | None, target: Tensor, source_valid: Tensor | None = None,
        target_valid: Tensor | None = None, source_documents: Tensor | None = None,
        target_documents: Tensor | None = None, memory: Tensor | None = None, cache: Cache | None = None,
    ) -> Tensor:  # fmt: skip
        """What the head reads: (B, T, D).

        source (B, S); it may be None where memory (B, S, D), an earlier `encode` of it, is given. *_valid: false for
        padding. *_documents: several pairs packed in a row, which do not see each other. cache: of the target's tokens
        before.
        """
        if memory is None:
            if source is None:
                raise ValueError("give source or memory")
            memory = self.encode(source, source_valid, source_documents)
        if source_valid is not None:
            source_valid = pad(source_valid, (memory.shape[1] - source_valid.shape[1], 0), value=1)
        hidden: Tensor = self.decoder(
            target, target_valid, documents=target_documents, cache=cache, memory=memory, memory_valid=source_valid,
            memory_documents=source_documents,
        )  # fmt: skip
        return hidden

    def forward(
        self, source: Tensor | None, target: Tensor, source_valid: Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """Takes what `hidden` takes."""
        logits: Tensor = self.head(self.hidden(source, target, source_valid, **inputs))
        return logits

    def new_cache(self, capacity: int = 0) -> Cache:
        return Cache(self.config.decoder.depth, capacity)
