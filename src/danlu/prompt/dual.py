"""Prompts for models of two towers: a class is a vector, and a row is as likely of it as they lie close.

The vectors of a class's phrases in all templates have length one; their mean is brought to length one again (Radford et
al. 2021, 3.1.4). Demonstrations are examples of their class: the mean of their vectors joins that of its phrases.
Shapes: N rows, C classes, E the width of the common space.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError, nearest
from danlu.generate.matching import Matcher
from danlu.generate.rows import batches, padded_right
from danlu.models.classifier import Classifier, pool
from danlu.models.dual import DualEncoder
from danlu.models.language import LanguageModel, Tower
from danlu.prompt.calibration import calibrated, content_free
from danlu.prompt.demonstrations import demonstrations
from danlu.prompt.scorer import BUDGET, Scorer
from danlu.prompt.segments import FieldOf, Segment
from danlu.prompt.spec import Demonstration, PromptSpec
from danlu.prompt.template import Renderer
from danlu.prompt.worded import words_of
from danlu.tasks.task import Row
from danlu.vision.opening import open_picture

SCALE = 20.0  # of cosines of texts: what sentence encoders are trained with (Reimers and Gurevych 2019's successors)
KEPT = 50_000  # vectors that are remembered
LOOKED = 8  # numbers of each weight by which a change is noticed
PORTION = 64  # pictures in one forward pass
NAMED = (str, Path, bytes)  # pictures that are equal where what they are given as is equal
TEXT, PICTURE = FieldOf(name="text"), FieldOf(name="picture")


class DualScorer(Scorer):
    """Vectors of rows are remembered as long as the model's weights are the same, so that a second prompt costs its own
    texts alone."""

    def __init__(self, checkpoint: Checkpoint, bf16: bool = False, budget: int = BUDGET):
        super().__init__(checkpoint, bf16, budget)
        self._known: dict[Any, Tensor] = {}  # framed tokens, or a picture
        self._state: tuple[float, ...] = ()

    @abstractmethod
    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Tokens of texts, framed, to vectors of length one: (N, E) float32."""

    @abstractmethod
    def rows(self, spec: PromptSpec, rows: Sequence[Row], keep: bool) -> Tensor:
        """What is compared with the classes: (N, E)."""

    @abstractmethod
    def logits(self, rows: Tensor, classes: Tensor) -> Tensor:
        """(N, E), (C, E) -> (N, C)."""

    def classes(self, spec: PromptSpec, keep: bool = False) -> Tensor:
        """One vector a class, of length one: (C, E)."""
        texts, owners = list[list[int]](), list[int]()
        for template in spec.templates:
            if any(isinstance(segment, FieldOf) for segment in template):
                raise DanluError(
                    "E2307", where=self.checkpoint.where, found="{field}", possible="{label}", kind=self.kind
                )
            words = words_of(spec.verbaliser, template, self.spelling)
            renderer = Renderer(template, spec.verbaliser, self.spelling, self.room(spec), self.soft_ids(spec))
            (rendered,) = renderer.render([Row({})])
            texts += [rendered.filled(parts)[0][: self.room(spec)] for parts in words]
            owners += spec.verbaliser.owners
        vectors = mean_of(self.vectors(texts, keep), owners, len(spec.classes))
        shown = self._shown(spec)
        if not shown:
            return vectors
        examples = self.rows(spec, [Row(each.values) for each in shown], keep)
        of = [spec.classes.index(each.label) for each in shown]
        share = torch.zeros(len(vectors), 1, device=self.device)
        share[of] = spec.demonstrations.share
        return normalize((1 - share) * vectors + share * mean_of(examples, of, len(vectors)), dim=-1)

    def vectors(self, texts: Sequence[Sequence[int]], keep: bool) -> Tensor:
        """Tokens without frame to vectors (N, E), like lengths together; each different text once."""
        framed = [tuple(self.tokenizer.frame(text)) for text in texts]
        unique = list(dict.fromkeys(framed))
        known = {} if keep else self._remembered()
        soft = self.tables[0].num_embeddings
        new = [text for text in unique if text not in known]
        found = dict(known) if len(new) < len(unique) else {}
        for some in [list(range(len(new)))] if keep and new else batches([len(text) for text in new], self.budget):
            found |= dict(zip([new[at] for at in some], self.embed([new[at] for at in some]), strict=True))
        self.tokens_spent += sum(map(len, unique))  # remembered or not: a price does not depend on the past
        if not keep and len(known) < KEPT:
            known.update({text: found[text] for text in new if max(text, default=0) < soft})
        return torch.stack([found[text] for text in framed])

    def _scores(self, spec: PromptSpec, rows: Sequence[Row], keep: bool) -> Tensor:
        classes = self.classes(spec, keep)
        free = content_free(spec.calibration, [each.name for each in self.query(spec) if isinstance(each, FieldOf)])
        moving = keep and self._rows_move(spec)
        with torch.set_grad_enabled(moving):
            vectors = self.rows(spec, [*rows, *free], moving)
        raw = self.logits(vectors, classes)
        return calibrated(spec.calibration, raw[: len(rows)], raw[len(rows) :] if free else None)

    def query(self, spec: PromptSpec) -> tuple[Segment, ...]:
        return spec.query or (TEXT,)

    def _rows_move(self, spec: PromptSpec) -> bool:
        """Whether training changes the vectors of rows: not where only soft vectors of the classes' side learn."""
        learns = any(each.requires_grad for each in self.model.parameters())
        return learns or any(segment.kind == "soft" for segment in self.query(spec))

    def _shown(self, spec: PromptSpec) -> list[Demonstration]:
        if spec.demonstrations.count and spec.demonstrations.selector == "nearest":
            raise DanluError(
                "E2307", where=self.checkpoint.where, found="nearest", possible="first, random", kind=self.kind
            )
        return demonstrations(spec.demonstrations, [Row({})])[0]

    def _remembered(self) -> dict[Any, Tensor]:
        """Nothing once the weights have changed. Some of their numbers tell: a fused optimiser leaves torch's own count
        of changes as it was."""
        parts = [each.detach().flatten()[:: max(1, each.numel() // LOOKED)] for each in self.model.parameters()]
        state = tuple(torch.stack([part.float().sum() for part in parts]).tolist())
        if state != self._state:
            self._known, self._state = {}, state
        return self._known


class TextScorer(DualScorer):
    """A sentence encoder: both towers are one, and a text is the mean of its hidden states, or what a head for vectors
    makes of it."""

    kind = "dual"

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        tower = next(module for module in self.model.modules() if isinstance(module, Tower))
        return (tower.embedding.tokens,)

    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        tokens, valid = padded_right(rows, self.device)
        if isinstance(self.model, Classifier):
            name = next(name for name, head in self.model.config.heads.items() if head.form == "vector")
            found: Tensor = self.model.answers([name], tokens, valid)[name]
            return found.float()
        hidden = cast(LanguageModel, self.model).hidden(tokens, valid)
        return normalize(pool(hidden.float(), valid, "mean"), dim=-1)

    def rows(self, spec: PromptSpec, rows: Sequence[Row], keep: bool) -> Tensor:
        renderer = Renderer(self.query(spec), spec.verbaliser, self.spelling, self.room(spec), self.soft_ids(spec))
        return self.vectors([rendered.filled(())[0] for rendered in renderer.render(rows)], keep)

    def logits(self, rows: Tensor, classes: Tensor) -> Tensor:
        return SCALE * rows @ classes.T


class PictureScorer(DualScorer):
    """CLIP, ALIGN and their like: the rows are pictures, given as paths, bytes or Pillow's."""

    kind = "pictures"

    def __init__(self, checkpoint: Checkpoint, bf16: bool = False, budget: int = BUDGET):
        super().__init__(checkpoint, bf16, budget)
        self.matcher = Matcher(checkpoint)

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        return (cast(DualEncoder, self.model).text.embedding.tokens,)

    def embed(self, rows: Sequence[Sequence[int]]) -> Tensor:
        inputs = self.matcher.framing.rows([list(row) for row in rows])
        moved = {name: each.to(self.device) for name, each in inputs.items()}
        return cast(DualEncoder, self.model).embed_text(**moved)

    def rows(self, spec: PromptSpec, rows: Sequence[Row], keep: bool) -> Tensor:
        name = next(each.name for each in self.query(spec) if isinstance(each, FieldOf))
        missing = next((row for row in rows if not row.values.get(name)), None)
        if missing is not None:
            raise DanluError(
                "E2305", name=name, found=list(missing.values), nearest=nearest(name, list(missing.values))
            )
        pictures = [row.values[name] for row in rows]
        known = {} if keep else self._remembered()
        new = [each for each in pictures if not isinstance(each, NAMED) or each not in known]
        fresh = dict(zip(map(id, new), self._embedded(new), strict=True)) if new else {}
        if not keep and len(known) < KEPT:
            known.update({each: fresh[id(each)] for each in new if isinstance(each, NAMED)})
        return torch.stack([fresh[id(each)] if id(each) in fresh else known[each] for each in pictures])

    def _embedded(self, pictures: Sequence[Any]) -> Tensor:
        found = []
        for start in range(0, len(pictures), PORTION):
            opened = [self.matcher.processor(open_picture(each)) for each in pictures[start : start + PORTION]]
            found.append(cast(DualEncoder, self.model).embed_image(torch.from_numpy(np.stack(opened)).to(self.device)))
        return torch.cat(found)

    def logits(self, rows: Tensor, classes: Tensor) -> Tensor:
        found: Tensor = cast(DualEncoder, self.model).similarity(rows, classes)
        return found

    def query(self, spec: PromptSpec) -> tuple[Segment, ...]:
        return spec.query or (PICTURE,)


def mean_of(vectors: Tensor, owners: Sequence[int], count: int) -> Tensor:
    """vectors (M, E) of length one, the class of each -> their means, of length one again (C, E); 0 of a class without
    any."""
    of = torch.tensor(owners, device=vectors.device)
    summed = torch.zeros(count, vectors.shape[1], device=vectors.device, dtype=vectors.dtype)
    return normalize(summed.index_add(0, of, vectors), dim=-1)
