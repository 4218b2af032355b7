"""A teacher: a model at rest that is asked about batches, and need not be asked twice."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from danlu.data.batch import Batch
from danlu.models.classifier import Classifier
from danlu.train.objectives import Speaking

ROOM = 2**30  # bytes of answers that are kept
FLOOR = -30.0  # the logit of what was not kept, below the least that was


class Teacher:
    """top: so many of the logits of each place are kept, by what the batch holds; 0: none, and it is always asked.

    What a classifier's heads say is small, and kept whole where `top` is above 0.
    """

    def __init__(self, model: nn.Module, top: int = 0):
        self.model, self.top = model.eval().requires_grad_(False), top
        self.kept: dict[bytes, Any] = {}
        self.room = ROOM

    @torch.no_grad()
    def of_tokens(self, batch: Batch, asked: Tensor, always: bool = False) -> Tensor:
        """Logits where a batch asks for tokens: (N, V). always: because somebody watches how it reads."""
        teacher = cast(Speaking, self.model)
        name = _name(batch)
        if self.top and not always and name in self.kept:
            values, places = self.kept[name]
            return _spread(values, places, teacher.config.vocabulary)
        inputs: Any = batch.inputs
        hidden = teacher.hidden(**inputs)
        logits: Tensor = teacher.head(hidden[asked])
        if not self.top:
            return logits
        values, places = logits.float().topk(min(self.top, logits.shape[-1]), -1)
        self._keep(name, (values.half(), places.int()), values.numel() * 6)
        return _spread(values, places, logits.shape[-1])

    @torch.no_grad()
    def of_heads(self, batch: Batch, names: Sequence[str]) -> dict[str, Tensor]:
        name = _name(batch)
        if self.top and name in self.kept:
            found: dict[str, Tensor] = self.kept[name]
            return found
        answers = cast(Classifier, self.model).answers(names, **batch.inputs)
        if self.top:
            self._keep(name, answers, sum(each.nbytes for each in answers.values()))
        return answers

    @torch.no_grad()
    def written(self, batch: Batch, write: Callable[[nn.Module, Batch], Batch]) -> Batch:
        """What the teacher writes in the place of a batch's text; each batch once."""
        name = b"text" + _name(batch)
        if name not in self.kept:
            made = write(self.model, batch)
            tensors = [*made.inputs.values(), *made.targets.values()]
            self._keep(name, made, sum(each.nbytes for each in tensors))
            return made
        found: Batch = self.kept[name]
        return found

    def _keep(self, name: bytes, what: Any, size: int) -> None:
        if self.room >= size:
            self.room -= size
            self.kept[name] = what


def _name(batch: Batch) -> bytes:
    """What a batch is known by: its tensors."""
    made = hashlib.blake2b(digest_size=16)
    for group in (batch.inputs, batch.targets):
        for name, tensor in sorted(group.items()):
            made.update(f"{name}{tuple(tensor.shape)}".encode())
            made.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return made.digest()


def _spread(values: Tensor, places: Tensor, vocabulary: int) -> Tensor:
    """Logits of all answers from those that were kept: (N, K), (N, K) -> (N, V). The others are next to impossible."""
    low = values.float().amin(-1, keepdim=True) + FLOOR
    whole = low.expand(-1, vocabulary).clone()
    return whole.scatter_(-1, places.long(), values.float())
