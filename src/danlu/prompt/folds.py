"""Choosing among prompts by the very examples that they show: no row is judged by a prompt that shows it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from danlu.prompt.honest import demonstrated
from danlu.prompt.scorer import Scorer
from danlu.prompt.spec import PromptSpec
from danlu.tasks.task import Row

FOLDS = 4
SHARES = (0.2, 0.4, 0.6, 0.8)  # of a class's vector that its examples make, in a model of two towers
COUNTS = (1, 2, 4)  # examples a class, where they stand in the text
COMPARES = ("dual", "pictures")


class Crossed(NamedTuple):
    """A prompt that shows examples, or none; the mean log-probability of the right class over all rows, each judged by
    the same prompt with the examples of other folds."""

    spec: PromptSpec
    value: float


def crossed(scorer: Scorer, specs: Sequence[PromptSpec], rows: Sequence[Row], seed: int = 0) -> list[Crossed]:
    """Each prompt without examples and with more and more of these rows, the best first; of equal ones those made
    first. The classes should take turns in the rows."""
    found = []
    for spec in specs:
        for way in ways(scorer, spec):
            total = 0.0
            for fold in range(min(FOLDS, len(rows))):
                asked, others = rows[fold::FOLDS], [row for at, row in enumerate(rows) if at % FOLDS != fold]
                logs = scorer.scores(way.of(others, seed), asked)
                right = torch.tensor([spec.classes.index(str(row.values["label"])) for row in asked])
                total += float(logs.gather(1, right[:, None]).sum())
            found.append(Crossed(way.of(rows, seed), total / len(rows)))
    return sorted(found, key=lambda each: -each.value)


class Way(NamedTuple):
    """How a prompt shows examples: how many a class, and with which share; 0: it shows none."""

    spec: PromptSpec
    each: int
    share: float

    def of(self, rows: Sequence[Row], seed: int) -> PromptSpec:
        if not self.each:
            return self.spec
        shown = demonstrated(self.spec, rows, min(len(rows), self.each * len(self.spec.classes)), seed)
        return shown.but(demonstrations=shown.demonstrations.model_dump() | {"share": self.share})


def ways(scorer: Scorer, spec: PromptSpec) -> Iterator[Way]:
    """Those that suit the kind of model."""
    share = spec.demonstrations.share
    yield Way(spec, 0, share)
    if scorer.kind in COMPARES:
        yield from (Way(spec, 2**10, each) for each in SHARES)
    elif any(segment.kind == "mask" for segment in spec.template):
        yield from (Way(spec, each, share) for each in COUNTS)
