"""Batches of pictures and captions as a pure function of the step."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from danlu.data.ahead import made_ahead
from danlu.data.batch import Batch, share
from danlu.data.order import Chance, permuted
from danlu.data.pictures.store import Pixels
from danlu.vision.processor import Processor

CAPTION, CROP = 61, 62  # streams of chance
ASPECT = (3 / 4, 4 / 3)  # of random crops (Szegedy et al. 2014)


@dataclass(frozen=True)
class Captioned:
    """Pictures and what is said of each.

    pixels (M, [frames,] height, width, 3), of which `index` (N,) are these; texts[i]: the captions of picture i as rows
    of `tokens`; equal captions are one row.
    """

    pixels: Pixels
    index: NDArray[np.int64]
    texts: Sequence[Sequence[int]]
    tokens: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Framing:
    """How captions become rows. whole: padded to `length`, and all of it seen (SigLIP). marked: padding is marked
    (BERT); otherwise it stands behind the end, where a causal tower never looks."""

    pad: int
    length: int
    whole: bool = False
    marked: bool = False

    def rows(self, captions: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """tokens (B, T), and valid (B, T) where padding is marked."""
        length = self.length if self.whole else max(map(len, captions))
        tokens = torch.full((len(captions), length), self.pad)
        for row, caption in zip(tokens, captions, strict=True):
            row[: len(caption)] = torch.tensor(caption)
        if not self.marked:
            return {"tokens": tokens}
        lengths = torch.tensor([len(caption) for caption in captions])
        valid = torch.arange(length)[None] < lengths[:, None]
        return {"tokens": tokens} if bool(valid.all()) else {"tokens": tokens, "valid": valid}


@dataclass(frozen=True)
class Augmentation:
    """crop: the least share of the area that is kept, 1 for all of it. flip: mirrored in half of the cases."""

    crop: float = 1.0
    flip: bool = False

    def __call__(self, pixels: Pixels, chance: NDArray[np.float64]) -> Pixels:
        """pixels (B, [frames,] height, width, 3), chance (B, 5): the frames of a film are treated alike."""
        if self.crop < 1:
            pixels = np.stack([self._cropped(each, draw) for each, draw in zip(pixels, chance, strict=True)])
        if self.flip:
            turned = chance[:, 4] < 0.5
            pixels = np.where(turned.reshape(-1, *[1] * (pixels.ndim - 1)), pixels[..., ::-1, :], pixels)
        return pixels

    def _cropped(self, pixels: Pixels, draw: NDArray[np.float64]) -> Pixels:
        height, width = pixels.shape[-3:-1]
        area = self.crop + (1 - self.crop) * draw[0]
        low, high = np.log(ASPECT)
        aspect = float(np.exp(low + (high - low) * draw[1]))
        across, down = min(1.0, (area * aspect) ** 0.5), min(1.0, (area / aspect) ** 0.5)
        left, top = (1 - across) * draw[2] * width, (1 - down) * draw[3] * height
        box = (left, top, left + across * width, top + down * height)
        frames = pixels.reshape(-1, height, width, 3)
        made = [Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR, box) for frame in frames]
        return np.stack([np.asarray(each) for each in made]).reshape(pixels.shape)


class PictureBatches:
    """Which pictures are in which batch. `shuffle`: endless, in another order each epoch. Else each once, in order."""

    def __init__(self, total: int, batch: int, seed: int, shuffle: bool):
        self.total, self.size, self.seed, self.shuffle = total, batch, seed, shuffle
        self.rank, self.processes = 0, 1

    def sliced(self, rank: int, size: int) -> Self:
        """The same batches, of each the rows of one of `size` processes; no other row is made."""
        mine = copy(self)
        mine.rank, mine.processes = rank, size
        return mine

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.total // self.size)

    def samples(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epochs and numbers of the pictures of a batch."""
        if not self.shuffle:
            start = step % self.steps_per_epoch * self.size
            rows = np.arange(start, min(start + self.size, self.total))
            return np.zeros_like(rows), rows
        numbers = np.arange(step * self.size, (step + 1) * self.size)
        numbers = numbers[share(len(numbers), self.rank, self.processes)]
        epochs = numbers // self.total
        return epochs, permuted(self.seed, epochs, numbers % self.total, self.total)

    def batch(self, step: int) -> Batch:
        """The same for ever, whatever was asked before."""
        raise NotImplementedError

    def stream(self, first: int = 0) -> Iterator[Batch]:
        """Batches from `first` on, without end, made ahead in a thread."""
        return made_ahead(self.batch, first)


class PictureLoader(PictureBatches):
    """`shuffle`: for training, endless, each picture with one of its captions by chance. Else each picture once, in
    order, with its first caption."""

    def __init__(
        self, data: Captioned, processor: Processor, framing: Framing, batch: int, seed: int, *, shuffle: bool = True,
        augmentation: Augmentation | None = None,
    ):  # fmt: skip
        super().__init__(len(data), batch, seed, shuffle)
        self.data, self.processor, self.framing = data, processor, framing
        self.augmentation = augmentation or Augmentation()

    def batch(self, step: int) -> Batch:
        """The same for ever, whatever was asked before."""
        epochs, rows = self.samples(step)
        chance = Chance(self.seed, epochs, rows)
        texts = self.texts(rows, chance)
        pixels = self.data.pixels[self.data.index[rows]]
        if self.shuffle:
            pixels = self.augmentation(pixels, chance.draw(5, CROP))
        inputs = {"images": torch.from_numpy(self.processor.numbers(pixels))}
        inputs |= self.framing.rows([self.data.tokens[text] for text in texts])
        return Batch(inputs, {"alike": torch.tensor(texts)})

    def texts(self, rows: NDArray[np.int64], chance: Chance) -> list[int]:
        """Which caption each picture comes with."""
        if not self.shuffle:
            return [self.data.texts[row][0] for row in rows]
        draws = chance.draw(1, CAPTION)[:, 0]
        return [
            self.data.texts[row][int(draw * len(self.data.texts[row]))] for row, draw in zip(rows, draws, strict=True)
        ]
