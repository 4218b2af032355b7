"""Prompts for models that fill masks: as many masks as a phrase has tokens, filled from left to right.

The probability of a phrase is the product of those of its tokens, each given the ones before it and masks after it;
over all phrases of one length they sum to one. Phrases of different lengths are compared as they are, or by token.
"""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.rows import padded_right
from danlu.models.language import LanguageModel
from danlu.prompt.scorer import BUDGET
from danlu.prompt.segments import Segment
from danlu.prompt.sheet import Sheet, cells
from danlu.prompt.template import Rendered
from danlu.prompt.worded import Words, WordScorer


class MaskedScorer(WordScorer):
    kind = "masked"

    def __init__(self, checkpoint: Checkpoint, bf16: bool = False, budget: int = BUDGET):
        super().__init__(checkpoint, bf16, budget)
        mask = self.tokenizer.special.get("mask")
        if mask is None:
            raise DanluError("E2307", where=checkpoint.where, found="—", possible="mask", kind=self.kind)
        self.mask: int = mask
        self.language = cast(LanguageModel, checkpoint.model)

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        return (self.language.tower.embedding.tokens,)

    def answer(self, rendered: Sequence[Rendered], words: Words, template: Sequence[Segment], keep: bool) -> Tensor:
        self.only_masks(template)
        sheet, count = Sheet(), len(words)
        for number, row in enumerate(rendered):
            for column, parts in enumerate(words):
                self._ask(sheet, row, parts, number * count + column)
        self.tokens_spent += sheet.tokens

        def hidden(some: list[int]) -> Tensor:
            tokens, valid = padded_right([sheet.rows[row] for row in some], self.device)
            return self.language.hidden(tokens, valid)

        found = cells(sheet, hidden, self.language.head, len(rendered) * count, None if keep else self.budget)
        return found.view(len(rendered), count)

    def _ask(self, sheet: Sheet, row: Rendered, parts: Sequence[Sequence[int]], cell: int) -> None:
        """Every token of a phrase, with those before it filled in."""
        tokens, starts = row.filled([[self.mask] * len(part) for part in parts])
        framed, first = self.tokenizer.frame(tokens), len(self.tokenizer.prefix)
        for start, part in zip(starts, parts, strict=True):
            for place, token in enumerate(part, start + first):
                sheet.ask(framed, place, token, cell)
                framed[place] = token
