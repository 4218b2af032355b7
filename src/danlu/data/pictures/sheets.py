"""Rows of a language model that sees: a picture, then what is asked about it, each question a branch of its own.

All that is asked of one picture shares its patches, and no question sees another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from danlu.data.batch import IGNORED, Batch
from danlu.data.mixing import Drawn
from danlu.data.order import Chance
from danlu.data.pictures.loader import Augmentation, Framing, PictureBatches
from danlu.data.pictures.store import Pixels
from danlu.vision.processor import Processor

ASKED, DESCRIBED, CROPPED = 63, 64, 65  # streams of chance
Ids = Sequence[int]


@dataclass(frozen=True)
class Sheet:
    """How a row is written. stem: what stands for a picture, or a film; after: what a branch begins with; end: what an
    answer ends with; length: of a row, at most."""

    stem: tuple[int, ...]
    after: tuple[int, ...]
    end: int
    length: int

    def prompt(self, question: Ids) -> list[int]:
        """What a model reads before it answers; a question without room loses its beginning."""
        room = self.length - len(self.stem) - len(self.after) - 1
        return [*self.stem, *self.after, *question[max(0, len(question) - room) :]]

    def branch(self, question: Ids, answer: Ids) -> tuple[list[int], list[int]]:
        """The tokens of a question and its answer, and what each of them should be followed by."""
        tokens = [*self.after, *question, *answer]
        asked = len(tokens) - len(answer) - 1
        return tokens, [*[IGNORED] * asked, *answer, self.end]

    def fits(self, question: Ids, answer: Ids) -> bool:
        return len(self.stem) + len(self.after) + len(question) + len(answer) <= self.length

    def rows(self, asked: Sequence[Sequence[tuple[Ids, Ids]]]) -> dict[str, Tensor]:
        """tokens, targets and branches (B, T), of each row as many questions as have room."""
        made = [self._row(each) for each in asked]
        width = max(len(tokens) for tokens, _, _ in made)
        fills = {"tokens": self.end, "targets": IGNORED, "branches": 0}
        return {
            name: torch.tensor([[*row[at], *[fill] * (width - len(row[at]))] for row in made])
            for at, (name, fill) in enumerate(fills.items())
        }

    def _row(self, asked: Sequence[tuple[Ids, Ids]]) -> tuple[list[int], list[int], list[int]]:
        tokens, targets = list(self.stem), [IGNORED] * len(self.stem)
        branches = [0] * len(self.stem)
        for number, (question, answer) in enumerate(asked, 1):
            own, wanted = self.branch(question, answer)
            if len(tokens) + len(own) > self.length:
                break
            tokens, targets = tokens + own, targets + wanted
            branches += [number] * len(own)
        return tokens, targets, branches


@dataclass(frozen=True)
class Asked:
    """Pictures and what is asked about each.

    pixels (M, [frames,] height, width, 3), of which `index` (N,) are these. questions[i]: (question, answer) of picture
    i, rows of `tokens`. captions[i]: rows of `framed` that say what it shows, none where nobody does.
    """

    pixels: Pixels
    index: NDArray[np.int64]
    questions: Sequence[Sequence[tuple[int, int]]]
    tokens: Sequence[Ids]
    captions: Sequence[Sequence[int]]
    framed: Sequence[Ids]

    def __len__(self) -> int:
        return len(self.index)


class SheetLoader(PictureBatches):
    """`shuffle`: for training, endless, with other questions and captions each time. Else each picture once, in order,
    with its first ones. most: questions in a row. framing: of captions for the common space; None: without them."""

    def __init__(
        self, data: Asked, sheet: Sheet, processor: Processor, batch: int, seed: int, *, most: int = 8,
        shuffle: bool = True, framing: Framing | None = None, augmentation: Augmentation | None = None,
    ):  # fmt: skip
        super().__init__(len(data), batch, seed, shuffle)
        self.data, self.sheet, self.processor = data, sheet, processor
        self.most, self.augmentation = most, augmentation or Augmentation()
        self.framing = framing if all(data.captions) else None

    def batch(self, step: int) -> Batch:
        """The same for ever, whatever was asked before."""
        epochs, rows = self.samples(step)
        chance = Chance(self.seed, epochs, rows)
        pixels = self.data.pixels[self.data.index[rows]]
        if self.shuffle:
            pixels = self.augmentation(pixels, chance.draw(5, CROPPED))
        known = self.data.tokens
        asked = [[(known[question], known[answer]) for question, answer in each] for each in self.chosen(rows, chance)]
        made = self.sheet.rows(asked)
        inputs = {"tokens": made["tokens"], "images": torch.from_numpy(self.processor.numbers(pixels))}
        if max(map(len, asked)) > 1:
            inputs["branches"] = made["branches"]
        targets = {"tokens": made["targets"]}
        return Batch(inputs, targets | (self._captions(rows, chance) if self.framing else {}))

    def chosen(self, rows: NDArray[np.int64], chance: Chance) -> list[list[tuple[int, int]]]:
        """The questions of each picture of a batch."""
        every = [self.data.questions[row] for row in rows]
        if not self.shuffle:
            return [list(each[: self.most]) for each in every]
        draws = chance.draw(max(map(len, every)), ASKED)
        orders = [np.argsort(draw[: len(each)], kind="stable") for each, draw in zip(every, draws, strict=True)]
        return [[each[at] for at in order[: self.most]] for each, order in zip(every, orders, strict=True)]

    def _captions(self, rows: NDArray[np.int64], chance: Chance) -> dict[str, Tensor]:
        """captions and captions_valid (B, T), alike (B,): one caption a picture."""
        assert self.framing
        draws = chance.draw(1, DESCRIBED)[:, 0] if self.shuffle else np.zeros(len(rows))
        numbers = [self.data.captions[row][int(draw * len(self.data.captions[row]))]
                   for row, draw in zip(rows, draws, strict=True)]  # fmt: skip
        made = self.framing.rows([self.data.framed[number] for number in numbers])
        valid = made.get("valid", torch.ones_like(made["tokens"], dtype=torch.bool))
        return {"captions": made["tokens"], "captions_valid": valid, "alike": torch.tensor(numbers)}

    def drawn(self, batches: int) -> list[Drawn]:
        """Nothing: pictures come from no sources with weights."""
        return []
