"""What a model is to be asked so that every phrase of every row gets its probability: each row of tokens once.

A cell is the log-probability of one phrase in one row: the sum over its tokens. Phrases that begin alike share their
first questions.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from danlu.generate.rows import batches
from danlu.nn.heads import LanguageHead

CHUNK_ELEMENTS = 2**24  # of logits at once


@dataclass
class Sheet:
    """rows: of tokens, each different. asked: (row, place in it, token, cell). marks: what else is told of each row."""

    rows: list[tuple[int, ...]] = field(default_factory=list)
    asked: list[list[tuple[int, int, int]]] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    _known: dict[tuple[int, tuple[int, ...]], int] = field(default_factory=dict)

    def ask(self, row: Sequence[int], place: int, token: int, cell: int, mark: int = 0) -> None:
        """How likely is `token` as what the model answers at `place` of this row?"""
        key = (mark, tuple(row))
        number = self._known.setdefault(key, len(self.rows))
        if number == len(self.rows):
            self.rows.append(key[1])
            self.asked.append([])
            self.marks.append(mark)
        self.asked[number].append((place, token, cell))

    @property
    def tokens(self) -> int:
        return sum(map(len, self.rows))

    def portions(self, budget: int | None) -> Iterator[list[int]]:
        """Rows of like length together, within a budget of tokens; all at once without one."""
        if budget is None:
            yield list(range(len(self.rows)))
        else:
            yield from batches([len(row) for row in self.rows], budget)


Hidden = Callable[[list[int]], Tensor]  # numbers of rows -> what the head reads (B, T, D)


def cells(sheet: Sheet, hidden: Hidden, head: LanguageHead, count: int, budget: int | None) -> Tensor:
    """The log-probability of each of `count` cells, (count,) float32; gradients flow where torch records them."""
    parts: list[Tensor] = []
    owners: list[Tensor] = []
    for some in sheet.portions(budget):
        states = hidden(some)
        places: dict[tuple[int, int], int] = {}
        told = [
            (places.setdefault((at, place), len(places)), token, cell)
            for at, row in enumerate(some)
            for place, token, cell in sheet.asked[row]
        ]
        where = torch.tensor(list(places), device=states.device)
        asked = torch.tensor(told, device=states.device)
        parts.append(likelihoods(head, states[where[:, 0], where[:, 1]], asked[:, 0], asked[:, 1]))
        owners.append(asked[:, 2])
    total = torch.zeros(count, device=head.output.weight.device, dtype=torch.float64)  # long texts are long sums
    return total.index_add(0, torch.cat(owners), torch.cat(parts).double()).float() if parts else total.float()


def likelihoods(head: LanguageHead, states: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
    """states (N, D); rows and tokens (M,) -> the log-probability of each token at its row, (M,) float32. The vocabulary
    is looked at once a state, in chunks."""
    step = max(1, CHUNK_ELEMENTS // head.output.out_features)
    found = [rows.new_zeros(0)] * 0
    order = rows.argsort(stable=True)
    sorted_rows = rows[order]
    for start in range(0, len(states), step):
        scores = head(states[start : start + step]).float()
        inside = order[(sorted_rows >= start) & (sorted_rows < start + step)]
        own = rows[inside] - start
        found.append(scores[own, tokens[inside]] - scores.logsumexp(1)[own])
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(found)[back]
