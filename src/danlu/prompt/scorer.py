"""How likely a model holds each class of a row to be, by a prompt: what all kinds of model have in common.

Shapes: N rows, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from danlu.adapt import room
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.rest import at_rest
from danlu.nn.virtual import virtual
from danlu.prompt.spec import PromptSpec
from danlu.prompt.spelling import Spelling
from danlu.tasks.task import Row
from danlu.text.tokenizer import Tokenizer

LONGEST = 512  # tokens of a row, where a model has no length of its own
BUDGET = 16_384  # tokens of a batch, padding included
Learned = Mapping[str, Tensor]  # soft segment -> its vectors (count, width)


class Scorer(ABC):
    """A model that answers by prompts. tokens_spent: how many tokens it has read since it was made.

    bf16: matrix products in that format. E1806 where the model has no tokenizer.
    """

    kind: ClassVar[str]

    def __init__(self, checkpoint: Checkpoint, bf16: bool = False, budget: int = BUDGET):
        if checkpoint.tokenizer is None:
            raise DanluError("E1806")
        self.checkpoint, self.bf16, self.budget = checkpoint, bf16, budget
        self.tokenizer: Tokenizer = checkpoint.tokenizer
        self.spelling = Spelling(self.tokenizer)
        self.tokens_spent = 0

    @property
    def model(self) -> nn.Module:
        return self.checkpoint.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    @abstractmethod
    def tables(self) -> tuple[nn.Embedding, ...]:
        """Where the vocabulary's vectors (V, width) are looked up, and soft ones beside them."""

    @property
    def width(self) -> int:
        """Of a soft vector."""
        return self.tables[0].embedding_dim

    def scores(self, spec: PromptSpec, rows: Sequence[Row], learned: Learned | None = None) -> Tensor:
        """Log-probabilities of the classes, calibrated as the prompt says: (N, C) float32 on the CPU, normalised.

        learned: the vectors of soft segments. E2305 for a field that a row lacks, E2306 for a template longer than the
        model, E2304 where phrases of two classes are the same tokens, E2307 for a template that the model cannot
        answer, E2309 where soft vectors are missing, E2312 for a phrase without a token.
        """
        with at_rest(self.model):
            return self._prepared(spec, rows, learned, keep=False).cpu()

    def forward(self, spec: PromptSpec, rows: Sequence[Row], learned: Learned | None = None) -> Tensor:
        """The same numbers on the model's device, and gradients flow: one batch, nothing remembered, the model in the
        mode it is in."""
        return self._prepared(spec, rows, learned, keep=True)

    def _prepared(self, spec: PromptSpec, rows: Sequence[Row], learned: Learned | None, keep: bool) -> Tensor:
        if not rows:
            return torch.zeros(0, len(spec.classes), device=self.device)
        with self.soft(spec, learned), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self._scores(spec, rows, keep)

    @abstractmethod
    def _scores(self, spec: PromptSpec, rows: Sequence[Row], keep: bool) -> Tensor:
        """keep: for gradients."""

    def room(self, spec: PromptSpec) -> int:
        """Tokens a row may have beside its frame, or the token that a decoder begins with."""
        most = room(self.model) or spec.length or LONGEST
        return min(most, spec.length or most) - max(1, len(self.tokenizer.frame([])))

    def soft_ids(self, spec: PromptSpec) -> dict[str, int]:
        """The id of the first vector of each soft segment: they are counted on from the vocabulary's end."""
        found, following = dict[str, int](), self.tables[0].num_embeddings
        for name, count in spec.soft.items():
            found[name] = following
            following += count
        return found

    def beginning(self, spec: PromptSpec, seed: int = 0) -> dict[str, Tensor]:
        """Vectors for the soft segments to begin with: those of the words they name, over and over, else drawn from the
        vocabulary."""
        generator = torch.Generator().manual_seed(seed)
        weight = self.tables[0].weight.detach()
        segments = [segment for template in (*spec.templates, spec.query) for segment in template]
        starts = {segment.name: segment.start for segment in segments if segment.kind == "soft"}
        found = {}
        for name, count in spec.soft.items():
            ids = self.spelling.word(starts[name]) or torch.randint(len(weight), (count,), generator=generator).tolist()
            found[name] = weight[torch.tensor([ids[at % len(ids)] for at in range(count)])].clone()
        return found

    @contextmanager
    def soft(self, spec: PromptSpec, learned: Learned | None) -> Iterator[None]:
        """Inside, the model knows the soft vectors. E2309 where some are missing, or of another size."""
        given, vectors = learned or {}, list[Tensor]()
        for name, count in spec.soft.items():
            found = given.get(name)
            if found is None or found.shape != (count, self.width):
                shape = None if found is None else tuple(found.shape)
                raise DanluError("E2309", name=name, found=shape, possible=(count, self.width))
            vectors.append(found.to(self.device))
        with ExitStack() as stack:
            for table in self.tables if vectors else ():
                stack.enter_context(virtual(table, torch.cat(vectors)))
            yield
