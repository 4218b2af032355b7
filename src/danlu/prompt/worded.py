"""What models that write words have in common: a class is as likely as its phrases in the gaps of a template.

Shapes: N rows, P phrases, C classes.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from danlu.errors import DanluError
from danlu.generate.rest import at_rest
from danlu.prompt.calibration import calibrated, content_free
from danlu.prompt.demonstrations import demonstrations
from danlu.prompt.scorer import Learned, Scorer
from danlu.prompt.segments import LabelOf, Mask, Segment
from danlu.prompt.spec import PromptSpec, Verbaliser
from danlu.prompt.spelling import Spelling
from danlu.prompt.template import Rendered, Renderer, slots
from danlu.tasks.task import Row

Words = Sequence[Sequence[Sequence[int]]]  # phrase -> part -> ids


class WordScorer(Scorer):
    """A scorer by the log-probabilities of phrases."""

    def phrases(
        self, spec: PromptSpec, rows: Sequence[Row], learned: Learned | None = None, template: int = 0
    ) -> Tensor:
        """The log-probability of each phrase by one of the templates, before anything is made of it: (N, P)."""
        with (
            at_rest(self.model), self.soft(spec, learned),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16),
        ):  # fmt: skip
            return self._phrases(spec, spec.templates[template], rows, keep=False).cpu()

    @abstractmethod
    def answer(self, rendered: Sequence[Rendered], words: Words, template: Sequence[Segment], keep: bool) -> Tensor:
        """The log-probability of each phrase in the gaps of each row: (N, P) float32. keep: for gradients."""

    def _scores(self, spec: PromptSpec, rows: Sequence[Row], keep: bool) -> Tensor:
        free = content_free(spec.calibration, spec.fields)
        found = []
        for template in spec.templates:
            raw = together(self._phrases(spec, template, [*rows, *free], keep), spec.verbaliser)
            found.append(calibrated(spec.calibration, raw[: len(rows)], raw[len(rows) :] if free else None))
        return torch.stack(found).logsumexp(0).log_softmax(-1)

    def _phrases(self, spec: PromptSpec, template: Sequence[Segment], rows: Sequence[Row], keep: bool) -> Tensor:
        words = words_of(spec.verbaliser, template, self.spelling)
        longest = max(sum(map(len, parts)) for parts in words)
        times = max(1, sum(segment.kind == "label" for segment in template))
        renderer = Renderer(
            template, spec.verbaliser, self.spelling, self.room(spec) - longest * times, self.soft_ids(spec)
        )
        rendered = renderer.render(rows, demonstrations(spec.demonstrations, rows))
        found = self.answer(rendered, words, template, keep)
        if spec.verbaliser.each_token:
            found = found / found.new_tensor([sum(map(len, parts)) for parts in words])
        return found

    def only_masks(self, template: Sequence[Segment]) -> None:
        """E2307 where a template has labels."""
        if any(segment.kind == "label" for segment in template):
            raise DanluError("E2307", where=self.checkpoint.where, found="{label}", possible="{mask}", kind=self.kind)


def words_of(verbaliser: Verbaliser, template: Sequence[Segment], spelling: Spelling) -> list[list[list[int]]]:
    """The ids of each part of each phrase, as they stand in a template. E2304 where two classes have the same ones,
    E2312 where a part has none that the tokenizer knows."""
    spaced = [slot.spaced for slot in slots(template) if isinstance(slot.segment, Mask | LabelOf)]
    owners: dict[tuple[tuple[int, ...], ...], int] = {}
    found = []
    for phrase, owner in zip(verbaliser.phrases, verbaliser.owners, strict=True):
        parts = [spelling.word(" " * space + part) for part, space in zip(phrase, spaced, strict=False)]
        if not all(map(spelling.knows, phrase)):
            raise DanluError("E2312", found=" ".join(phrase))
        if (other := owners.setdefault(tuple(map(tuple, parts)), owner)) != owner:
            raise DanluError("E2304", found=" ".join(phrase), classes=[verbaliser.classes[at] for at in (other, owner)])
        found.append(parts)
    return found


def together(phrases: Tensor, verbaliser: Verbaliser) -> Tensor:
    """Log-probabilities of phrases (N, P) -> of their classes (N, C)."""
    owners = torch.tensor(verbaliser.owners, device=phrases.device)
    columns = [phrases[:, owners == number] for number in range(len(verbaliser.classes))]
    if verbaliser.together == "max":
        return torch.stack([each.amax(1) for each in columns], 1)
    summed = torch.stack([each.logsumexp(1) for each in columns], 1)
    if verbaliser.together == "sum":
        return summed
    return summed - phrases.new_tensor([each.shape[1] for each in columns]).log()
