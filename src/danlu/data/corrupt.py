"""What is done to packed rows before a model sees them: pure functions of the rows and of chance that is counted out.

`CORRUPTIONS` is the table: a name -> how rows are framed for it, how many tokens it needs ahead, and the function
(rows, chance, settings, words) -> Batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from danlu.data.batch import IGNORED, Batch
from danlu.data.corpus import Corpus, Numbers
from danlu.data.order import uniforms
from danlu.data.packing import Frame, Packed, Rows, causal_frame, masked_frame
from danlu.errors import DanluError
from danlu.settings import Settings

CHOICE, FATE, WORD = range(3)  # streams of chance: which token, what becomes of it, which word replaces it


class CorruptionSettings(Settings):
    """`mask`: BERT's corruption, 15 % of the tokens chosen anew in each epoch; `shift`: predict the next token.

    Of the chosen share, `mask` are hidden, `replace` become another word, the rest stays (Devlin et al. 2018, 3.1).
    `auto`: mask where the tokenizer has a mask token, else shift.
    """

    kind: Literal["auto", "mask", "shift"] = "auto"
    share: float = Field(0.15, gt=0, le=1)
    mask: float = Field(0.8, ge=0, le=1)
    replace: float = Field(0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _shares(self) -> "CorruptionSettings":
        if self.mask + self.replace > 1 + 1e-9:
            raise ValueError("mask + replace must not exceed 1")
        return self


@dataclass(frozen=True)
class Words:
    """What a corruption knows of the vocabulary: its size and its special tokens by role."""

    vocabulary: int
    special: Mapping[str, int]

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        """(vocabulary,): never masked, never drawn as a replacement."""
        found = np.zeros(self.vocabulary, bool)
        found[list(self.special.values())] = True
        return found

    @cached_property
    def ordinary(self) -> Numbers:
        return np.flatnonzero(~self.is_special)

    def role(self, name: str) -> int:
        """The id of a special token. E1222 where the tokenizer has none."""
        if name not in self.special:
            raise DanluError("E1222", role=name, found=dict(self.special))
        return self.special[name]


@dataclass(frozen=True)
class Chance:
    """The randomness of a batch: row b belongs to (seed, epochs[b], samples[b])."""

    seed: int
    epochs: Numbers
    samples: Numbers

    def draw(self, width: int, stream: int) -> NDArray[np.float64]:
        """Numbers in [0, 1), (B, width)."""
        return uniforms(self.seed, self.epochs, self.samples, width, stream)


Corrupt = Callable[[Packed, Chance], Batch]


def mask_tokens(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Masked language modelling: each token that is not special is chosen with probability `share`, independently."""
    width = rows.tokens.shape[1]
    open_to_choice = rows.valid & ~words.is_special[rows.tokens]
    chosen = open_to_choice & (chance.draw(width, CHOICE) < settings.share)
    fate = chance.draw(width, FATE)
    hidden = chosen & (fate < settings.mask)
    replaced = chosen & ~hidden & (fate < settings.mask + settings.replace)
    others = words.ordinary[(chance.draw(width, WORD) * len(words.ordinary)).astype(np.int64)]

    tokens = np.where(hidden, words.role("mask"), np.where(replaced, others, rows.tokens))
    targets = np.where(chosen, rows.tokens, IGNORED)
    return _batch(tokens, rows.documents, targets)


def shift(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Causal language modelling: every token should have answered the next one of its document.

    The first token of the following document is asked for only where it is the sign that this one has ended.
    """
    following = rows.tokens[:, 1:]
    same = rows.documents[:, 1:] == rows.documents[:, :-1]
    asked = rows.valid[:, 1:] & (same | (following == words.special.get("end", -1)))
    targets = np.where(asked, following, IGNORED)
    return _batch(rows.tokens[:, :-1], rows.documents[:, :-1], targets)


def _batch(tokens: Numbers, documents: Numbers, targets: Numbers) -> Batch:
    """Document numbers go along only where some row holds more than one document or padding."""
    inputs = {"tokens": torch.from_numpy(np.ascontiguousarray(tokens))}
    if (documents != documents[:, :1]).any():
        inputs["documents"] = torch.from_numpy(np.ascontiguousarray(documents))
    return Batch(inputs, {"tokens": torch.from_numpy(targets)})


class Corruption(NamedTuple):
    """A row of the table."""

    frame: Callable[[Mapping[str, int]], Frame]
    ahead: int
    apply: Callable[[Packed, Chance, CorruptionSettings, Words], Batch]


CORRUPTIONS: Mapping[str, Corruption] = {
    "mask": Corruption(masked_frame, 0, mask_tokens),
    "shift": Corruption(causal_frame, 1, shift),
}


def kind_of(settings: CorruptionSettings, words: Words) -> str:
    """The name in the table that the settings mean."""
    return settings.kind if settings.kind != "auto" else "mask" if "mask" in words.special else "shift"


def pack(corpus: Corpus, length: int, settings: CorruptionSettings, words: Words) -> Rows:
    """The rows a corruption wants, of `length` places each."""
    frame, ahead, _ = CORRUPTIONS[kind_of(settings, words)]
    return Rows(corpus, length, frame(words.special), ahead)


def corruption(settings: CorruptionSettings, words: Words) -> Corrupt:
    """(rows, chance) -> Batch. E1222 where the tokenizer lacks what it takes, E1223 where it has no ordinary words."""
    kind = kind_of(settings, words)
    if kind == "mask":
        words.role("mask")
    if not len(words.ordinary):
        raise DanluError("E1223", found=words.vocabulary)
    apply = CORRUPTIONS[kind].apply
    return lambda rows, chance: apply(rows, chance, settings, words)
