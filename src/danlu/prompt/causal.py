"""Prompts for models that write on: what stands before the answer is read once for all labels, and what all rows begin
with once for all rows.

At a mask, the model is scored on the phrase alone, or, where fields of the row follow, on all that follows as well, as
a class is weighed by the text it leads to. A template with a label is the noisy channel: the phrase is given, and the
probability is that of the text behind it (Min et al. 2022).
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.rows import batches, padded_left, padded_right
from danlu.models.language import LanguageModel
from danlu.nn.cache import Cache
from danlu.prompt.scorer import BUDGET
from danlu.prompt.segments import Segment
from danlu.prompt.sheet import Sheet, cells, likelihoods
from danlu.prompt.template import Rendered
from danlu.prompt.worded import Words, WordScorer

WORTH = 8  # tokens that all rows begin with, from which on it pays to read them once


class CausalScorer(WordScorer):
    kind = "causal"

    def __init__(self, checkpoint: Checkpoint, bf16: bool = False, budget: int = BUDGET):
        super().__init__(checkpoint, bf16, budget)
        self.language = cast(LanguageModel, checkpoint.model)
        end = self.tokenizer.special.get("end")
        self.first = list(self.tokenizer.prefix or (() if end is None else (end,)))
        if not self.first:
            raise DanluError("E2307", where=checkpoint.where, found="—", possible="start, end", kind=self.kind)

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        return (self.language.tower.embedding.tokens,)

    def answer(self, rendered: Sequence[Rendered], words: Words, template: Sequence[Segment], keep: bool) -> Tensor:
        rows = [[self._split(row, parts, _goes_on(template)) for parts in words] for row in rendered]
        if keep:
            return self._whole(rows)
        return self._shared(rows)

    def _split(self, row: Rendered, parts: Sequence[Sequence[int]], on: bool) -> tuple[list[int], list[int]]:
        """What is given, and what the model shall say after it."""
        tokens, starts = row.filled(parts)
        given = row.gaps[0].kind == "label"
        start = starts[0] + (len(parts[0]) if given else 0)
        stop = len(tokens) if on or given else starts[-1] + len(parts[-1])
        if start == stop:
            raise DanluError(
                "E2307", where=self.checkpoint.where, found="{text} {label}", possible="{label} {text}", kind=self.kind
            )
        return [*self.first, *tokens[:start]], tokens[start:stop]

    def _whole(self, rows: "Rows") -> Tensor:
        """Every phrase in a row of its own but for those of one token, in one batch."""
        sheet, count = Sheet(), len(rows[0])
        for number, row in enumerate(rows):
            for column, (given, said) in enumerate(row):
                whole = [*given, *said[:-1]]
                for place, token in enumerate(said, len(given) - 1):
                    sheet.ask(whole, place, token, number * count + column)
        self.tokens_spent += sheet.tokens

        def hidden(some: list[int]) -> Tensor:
            return self.language.hidden(padded_right([sheet.rows[row] for row in some], self.device)[0])

        return cells(sheet, hidden, self.language.head, len(rows) * count, None).view(len(rows), count)

    def _shared(self, rows: "Rows") -> Tensor:
        """The same by caches: of what all rows begin with, and of what stands before the phrases of each row."""
        same = [_common([given for given, _ in row]) for row in rows]
        begin = _common(same)
        begin = begin[: max(0, min(len(begin), min(map(len, same)) - 1))]
        if len(begin) < WORTH or len(rows) < 2 or self._windowed:
            begin = []
        cache = self._read(begin) if begin else None
        found = torch.zeros(len(rows), len(rows[0]), device=self.device)
        for some in batches([len(given) - len(begin) for given in same], self.budget):
            found[some] = self._portion([rows[row] for row in some], [same[row] for row in some], len(begin), cache)
        return found

    def _portion(self, rows: "Rows", same: Sequence[list[int]], begin: int, cache: Cache | None) -> Tensor:
        """rows that share their first `begin` tokens, which the cache has -> (B, P)."""
        count, sheet = len(rows[0]), Sheet()
        at, first, cell = list[int](), list[int](), list[int]()  # of the tokens that follow what the cache has
        for number, row in enumerate(rows):
            for column, (given, said) in enumerate(row):
                rest, place = [*given[len(same[number]) :], *said], len(given) - len(same[number])
                for step, token in enumerate(said, place):
                    if step == 0:
                        at, first, cell = [*at, number], [*first, token], [*cell, number * count + column]
                    else:
                        sheet.ask(rest[:-1], step - 1, token, number * count + column, mark=number)
        tokens, valid = padded_left([each[begin:] for each in same], self.device)
        own = cache.fork(torch.zeros(len(rows), dtype=torch.long, device=self.device)) if cache else None
        own = own or self.language.new_cache()
        state = self.language.hidden(tokens, valid, cache=own)[:, -1]
        self.tokens_spent += sum(len(each) - begin for each in same) + sheet.tokens
        found = torch.zeros(len(rows) * count, device=self.device)
        if at:
            asked = torch.tensor([at, first, cell], device=self.device)
            found[asked[2]] = likelihoods(self.language.head, state, asked[0], asked[1])

        def hidden(some: list[int]) -> Tensor:
            after, real = padded_right([sheet.rows[row] for row in some], self.device)
            index = torch.tensor([sheet.marks[row] for row in some], device=self.device)
            return self.language.hidden(after, real, cache=own.fork(index))

        return (found + cells(sheet, hidden, self.language.head, len(found), self.budget // 4)).view(len(rows), count)

    def _read(self, tokens: Sequence[int]) -> Cache:
        cache = self.language.new_cache(len(tokens))
        self.language.hidden(torch.tensor([list(tokens)], device=self.device), cache=cache)
        self.tokens_spent += len(tokens)
        return cache

    @property
    def _windowed(self) -> bool:
        """Whether some layer looks back over a number of places: padding in the middle would count among them."""
        return any(window is not None for window in self.language.config.transformer.attention.windows)


Rows = Sequence[Sequence[tuple[list[int], list[int]]]]  # row -> phrase -> given, said


def _goes_on(template: Sequence[Segment]) -> bool:
    """Whether fields of the row stand behind the first gap."""
    kinds = [segment.kind for segment in template]
    first = min(kinds.index(kind) for kind in ("mask", "label") if kind in kinds)
    return "field" in kinds[first:]


def _common(rows: Sequence[list[int]]) -> list[int]:
    """The tokens that all rows begin with."""
    low, high = min(rows), max(rows)
    same = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return list(low[:same])
