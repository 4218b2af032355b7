"""Prompts for models that read, then write: the text is read once for all labels.

A model that knows sentinels (T5) finds one in each gap and writes the parts behind their sentinels; one that knows a
mask (BART) finds it in the gap and writes the text anew, scored on the phrase; any other one reads the text and writes
the phrase.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.generate.rows import batches, padded_right
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.prompt.scorer import BUDGET
from danlu.prompt.segments import Segment
from danlu.prompt.sheet import Sheet, cells
from danlu.prompt.template import Rendered
from danlu.prompt.worded import Words, WordScorer


class SequenceScorer(WordScorer):
    kind = "sequence_to_sequence"

    def __init__(self, checkpoint: Checkpoint, bf16: bool = False, budget: int = BUDGET):
        super().__init__(checkpoint, bf16, budget)
        self.both = cast(SequenceToSequence, checkpoint.model)

    @property
    def tables(self) -> tuple[nn.Embedding, ...]:
        return self.both.encoder.embedding.tokens, self.both.decoder.embedding.tokens

    def answer(self, rendered: Sequence[Rendered], words: Words, template: Sequence[Segment], keep: bool) -> Tensor:
        self.only_masks(template)
        pairs = [self._pair(row, words) for row in rendered]
        if keep:
            return self._portion(pairs, None)
        found = torch.zeros(len(rendered), len(words), device=self.device)
        for some in batches([len(source) for source, _ in pairs], self.budget):
            found[some] = self._portion([pairs[row] for row in some], self.budget)
        return found

    def _pair(self, row: Rendered, words: Words) -> "Pair":
        """What is read, and for each phrase what is written, and where in it the phrase's tokens stand."""
        marks = self._marks(len(row.gaps))
        source, starts = row.filled(marks)
        written, opening = [], [self.both.config.start, *self.tokenizer.prefix]
        for parts in words:
            if self.tokenizer.sentinels:
                opening = [self.both.config.start]
                pieces = [(marks[number], part) for number, part in enumerate(parts)]
            elif marks[0]:
                ends = [start + 1 for start in starts]
                pieces = [(tuple(source[a:b]), part) for a, b, part in zip([0, *ends], starts, parts, strict=False)]
            else:
                pieces = [((), part) for part in parts]
            tokens, places = list(opening), list[int]()
            for before, part in pieces:
                tokens += before
                places += range(len(tokens), len(tokens) + len(part))
                tokens += part
            written.append((tokens, places))
        return self.tokenizer.frame(source), written

    def _marks(self, gaps: int) -> list[tuple[int, ...]]:
        """What stands in the gaps of what is read."""
        mask = self.tokenizer.special.get("mask")
        if self.tokenizer.sentinels:
            return [(sentinel,) for sentinel in self.tokenizer.sentinels[:gaps]]
        return [() if mask is None else (mask,)] * gaps

    def _portion(self, pairs: "Sequence[Pair]", budget: int | None) -> Tensor:
        sheet, count = Sheet(), len(pairs[0][1])
        for number, (_, written) in enumerate(pairs):
            for column, (tokens, places) in enumerate(written):
                for place in places:
                    row = tokens[: places[-1]]
                    sheet.ask(row, place - 1, tokens[place], number * count + column, mark=number)
        source, valid = padded_right([source for source, _ in pairs], self.device)
        memory = self.both.encode(source, valid)
        self.tokens_spent += sheet.tokens + sum(len(source) for source, _ in pairs)

        def hidden(some: list[int]) -> Tensor:
            index = torch.tensor([sheet.marks[row] for row in some], device=self.device)
            target, _ = padded_right([sheet.rows[row] for row in some], self.device)
            seen = None if valid is None else valid[index]
            return self.both.hidden(None, target, seen, memory=memory[index])

        return cells(sheet, hidden, self.both.head, len(pairs) * count, budget and budget // 4).view(len(pairs), count)


Pair = tuple[list[int], list[tuple[list[int], list[int]]]]
