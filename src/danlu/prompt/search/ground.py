"""What a search of prompts stands on: a model that answers by them, and rows whose answers are known."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from danlu.errors import DanluError
from danlu.prompt.scorer import Scorer
from danlu.prompt.search.harness import Look
from danlu.prompt.search.ledger import key_of
from danlu.prompt.search.vectors import Numbers, spread_over
from danlu.prompt.spec import PromptSpec
from danlu.settings import Data
from danlu.tasks.task import Row

Aim = Literal["chance", "accuracy", "likelihood"]
FLOOR = 20.0  # nats: no row counts for more than this against a candidate
UNFIT = {"E2302", "E2303", "E2304", "E2306", "E2307", "E2308", "E2311", "E2312"}  # a prompt that this model cannot use


class Candidate(NamedTuple):
    """A prompt. numbers: what its soft vectors are moved by, see `spread_over`."""

    spec: PromptSpec
    numbers: Numbers = ()

    def __hash__(self) -> int:
        return hash(key_of(self.plain()))

    def plain(self) -> Data:
        data = self.spec.model_dump(mode="json", exclude_defaults=True)
        return {"prompt": data} | ({"numbers": list(self.numbers)} if self.numbers else {})


def chance_of(logs: Tensor, right: Tensor) -> Tensor:
    """How likely the model holds the right class to be: smooth, and no single row counts for much."""
    return logs.gather(1, right[:, None]).squeeze(1).exp()


def accuracy_of(logs: Tensor, right: Tensor) -> Tensor:
    return (logs.argmax(1) == right).float()


def likelihood_of(logs: Tensor, right: Tensor) -> Tensor:
    return logs.gather(1, right[:, None]).squeeze(1).clamp(min=-FLOOR)


# What a row is worth to a candidate: log-probabilities (N, C) and right classes (N,) -> (N,), more is better.
AIMS: Mapping[Aim, Callable[[Tensor, Tensor], Tensor]] = {
    "chance": chance_of, "accuracy": accuracy_of, "likelihood": likelihood_of,
}  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """hand: the prompt to beat. rows: to choose by, labels of every kind in every beginning. pool: rows that prompts
    may learn from, or show; where they are shown, others than those to choose by."""

    scorer: Scorer
    hand: PromptSpec
    rows: Sequence[Row]
    pool: Sequence[Row]
    aim: Aim = "likelihood"
    seed: int = 0

    def look(self, candidate: Candidate, rows: range) -> Look:
        """The value of each row; the least there is for a prompt that the model cannot use."""
        some, before = [self.rows[row] for row in rows], self.scorer.tokens_spent
        try:
            logs = self.scorer.scores(candidate.spec, some, self.vectors(candidate))
        except DanluError as error:
            if error.code not in UNFIT:
                raise
            worst = -FLOOR if self.aim == "likelihood" else 0.0
            return Look([worst] * len(some), 0)
        values = AIMS[self.aim](logs, self.right(some)).tolist()
        return Look([round(value, 6) for value in values], self.scorer.tokens_spent - before)

    def right(self, rows: Sequence[Row]) -> Tensor:
        """The numbers of their classes: (N,)."""
        return torch.tensor([self.hand.classes.index(row.values["label"]) for row in rows])

    def vectors(self, candidate: Candidate) -> dict[str, Tensor] | None:
        """The soft vectors of a candidate: as they begin, moved by its numbers."""
        if not candidate.spec.soft:
            return None
        begun = self.scorer.beginning(candidate.spec, self.seed)
        if not candidate.numbers:
            return begun
        length = self.scorer.tables[0].weight.detach().float().norm(dim=1).mean().item()
        shape = (sum(candidate.spec.soft.values()), self.scorer.width)
        moved = torch.from_numpy(spread_over(candidate.numbers, shape, self.seed)) * length
        parts = moved.split(list(candidate.spec.soft.values()))
        return {name: begun[name] + part for name, part in zip(begun, parts, strict=True)}

    def by_class(self, rows: Sequence[Row]) -> list[list[int]]:
        """The numbers of the rows of each class, in the order of the prompt's classes."""
        return [
            [number for number, row in enumerate(rows) if row.values["label"] == name] for name in self.hand.classes
        ]


def few(rows: Sequence[Row], shots: int, seed: int = 0) -> list[Row]:
    """At most so many rows of each class, drawn by the seed; the classes take turns."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.values["label"])].append(row)
    drawn = [Random(f"{name} {seed}").sample(groups[name], min(shots, len(groups[name]))) for name in sorted(groups)]
    return [row for turn in zip_longest(*drawn) for row in turn if row is not None]
