"""What a model that is compressed is for: what it learns from, what it is calibrated with, what it is worth.

Rows are in three parts: to learn from (and to calibrate with), to choose by, and to test on at the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.compress.calibration import Calibration
from danlu.data.batch import Batch
from danlu.errors import Both, DanluError
from danlu.evaluate.intervals import Comparison
from danlu.settings import Data
from danlu.tasks.metrics import MEASURES
from danlu.train.distill import Distil, DistilObjective
from danlu.train.evaluation import Batches, Stream
from danlu.voice import Voice

Part = Literal["training", "validation", "test"]
LEAST, GOOD = 256, 16_384  # tokens to calibrate with
ROWS = 32  # in a batch of calibration or of measuring
UNKNOWN, TORN = (
    0.2,
    1.5,
)  # share of unknown tokens, and tokens a character, from which on a text is in no known language


@dataclass(frozen=True)
class Quality:
    """What a model is worth on some rows. result: a row of evaluation.json. rows: what two models are compared by."""

    result: Data
    rows: Any

    @property
    def name(self) -> str:
        return str(self.result["name"])

    @property
    def value(self) -> float:
        return float(self.result["value"])

    @property
    def larger_is_better(self) -> bool:
        return MEASURES[self.name].larger_is_better

    def loss_against(self, original: "Quality") -> float:
        """How much worse than the original, as a share of its value; below zero: better."""
        change = (self.value - original.value) / max(abs(original.value), 1e-12)
        return (-change if self.larger_is_better else change) + 0.0


class Subject(ABC):
    """A model with its data. The tokenizer is that of `checkpoint`: after it was cut, `on` gives the same subject anew.

    sample: how many rows of each part are looked at, at most.
    """

    def __init__(self, checkpoint: Checkpoint, sample: int, seed: int):
        self.checkpoint, self.sample, self.seed = checkpoint, sample, seed

    @abstractmethod
    def on(self, checkpoint: Checkpoint) -> "Subject":
        """The same rows, read by another checkpoint's tokenizer."""

    @abstractmethod
    def stream(self, part: Part, rows: int, seed: int, shuffle: bool) -> Stream:
        """Batches of so many rows."""

    @abstractmethod
    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of what a batch asks for: (N, V)."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed over what a batch asks for."""

    @abstractmethod
    def quality(self, model: nn.Module, part: Part, voice: Voice) -> Quality: ...

    @abstractmethod
    def compare(self, first: Quality, second: Quality) -> Comparison:
        """The second against the first, row by row."""

    @abstractmethod
    def objective(self, teacher: nn.Module, settings: Distil) -> DistilObjective: ...

    def batches(self, part: Part, rows: int | None = None, size: int = ROWS) -> list[Batch]:
        """Of at most so many rows, evenly spread over the part."""
        loader = self.stream(part, size, self.seed, shuffle=False)
        return [loader.batch(step) for step in spread(loader, rows or self.sample, size)]

    def calibration(self, voice: Voice, rows: int, dtype: torch.dtype | None = None) -> Calibration:
        """Rows to learn from, and their loss. E2402 where they are too few; E2403 where the tokenizer does not know
        their language."""
        batches = self.batches("training", rows, min(ROWS, 8 if rows <= 64 else ROWS))
        tokens = sum(read_of(batch) for batch in batches)
        if tokens < LEAST:
            raise DanluError("E2402", found=tokens, possible=LEAST)
        self.check_language()
        widest = max(each.in_features for each in self.checkpoint.model.modules() if isinstance(each, nn.Linear))
        if tokens < max(2 * widest, GOOD // 8):
            voice.say(
                f"{tokens:,} tokens to calibrate with are few for layers of {widest:,} inputs",
                f"对输入为 {widest:,} 的层来说，{tokens:,} 个校准词元偏少",
            )
        return Calibration(batches, self.loss, dtype)

    def check_language(self) -> None:
        """E2403, by how the tokenizer takes the first texts apart."""
        tokenizer, texts = self.checkpoint.tokenizer, self.texts(64)
        if tokenizer is None or not texts:
            return
        ids = [token for row in tokenizer.encode_many(texts) for token in row]
        unknown = tokenizer.special.get("unknown")
        share = sum(token == unknown for token in ids) / max(1, len(ids))
        torn = len(ids) / max(1, sum(len(text.replace(" ", "")) for text in texts))
        if share > UNKNOWN or torn > TORN:
            found = Both(f"{share:.0%} unknown, {torn:.1f} tokens a character",
                         f"{share:.0%} 未知词元，每字符 {torn:.1f} 个词元")  # fmt: skip
            raise DanluError("E2403", found=found)

    def texts(self, count: int) -> list[str]:
        """Some of the texts to learn from, as they are; none where only tokens are left of them."""
        return []

    def sample_inputs(self, rows: int, length: int) -> dict[str, Tensor]:
        """Keyword arguments of `model(...)` for timing: so many rows of so many tokens, nothing padded."""
        limit = self.checkpoint.config.length
        length = min(length, limit) if limit else length
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randint(self.checkpoint.config.vocabulary, (rows, length), generator=draw)
        if self.checkpoint.config.kind == "sequence_to_sequence":
            return {"source": tokens, "target": tokens[:, : max(1, length // 4)]}
        return {"tokens": tokens}


def spread(loader: Batches, rows: int, size: int) -> Sequence[int]:
    """Steps of a loader that hold about so many rows, evenly spread over it."""
    total, wanted = loader.steps_per_epoch, max(1, rows // size)
    if wanted >= total:
        return range(total)
    return [at * total // wanted for at in range(wanted)]


def read_of(batch: Batch) -> int:
    """Tokens that stand for something."""
    for name in ("valid", "source_valid"):
        if name in batch.inputs:
            return int(batch.inputs[name].sum())
    return next(each.numel() for name, each in batch.inputs.items() if name in ("tokens", "source"))
