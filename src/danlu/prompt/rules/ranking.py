"""Which of several prompts to trust, without a single label.

Shapes: M prompts, N rows, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from danlu.errors import DanluError
from danlu.prompt.scorer import Scorer
from danlu.prompt.spec import PromptSpec
from danlu.tasks.task import Row

By = Literal["agreement", "information"]


class Ranked(NamedTuple):
    """A prompt and how it was judged: more is better."""

    spec: PromptSpec
    value: float


def agreement(scores: Tensor) -> Tensor:
    """How likely each prompt holds what all of them together hold to be right: (M, N, C) -> (M,) (Liao et al. 2022)."""
    answers = scores.softmax(-1).mean(0).argmax(-1)
    return scores.log_softmax(-1).argmax(-1).eq(answers).float().mean(1)


def information(scores: Tensor) -> Tensor:
    """The mutual information of input and answer, in nats: certain of each row, and varied over rows: (M, N, C) -> (M,)
    (Sorensen et al. 2022, eq. 1)."""
    chances = scores.softmax(-1)
    mean = chances.mean(1)
    return -(mean * mean.clamp(min=1e-30).log()).sum(-1) + (chances * scores.log_softmax(-1)).sum(-1).mean(1)


MEASURES: Mapping[By, Callable[[Tensor], Tensor]] = {"agreement": agreement, "information": information}


def ranked(
    scorer: Scorer, specs: Sequence[PromptSpec], rows: Sequence[Row], by: By = "agreement"
) -> tuple[list[Ranked], list[tuple[PromptSpec, DanluError]]]:
    """The prompts that the model can answer, the best first, and those that it cannot, with the reason. Of equal ones
    those made first come first."""
    fit, scores, unfit = list[PromptSpec](), list[Tensor](), list[tuple[PromptSpec, DanluError]]()
    for spec in specs:
        try:
            scores.append(scorer.scores(spec, rows))
        except DanluError as error:
            unfit.append((spec, error))
        else:
            fit.append(spec)
    if not fit:
        raise unfit[0][1]
    values = MEASURES[by](torch.stack(scores)).tolist()
    order = sorted(range(len(fit)), key=lambda at: -values[at])
    return [Ranked(fit[at], values[at]) for at in order], unfit
