"""Spans that sentinels stand for: T5's denoising, and UL2's mixture of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from danlu.data.batch import Batch
from danlu.data.corpus import Numbers
from danlu.data.corruption.fragments import Flat, Fragments, composed, marks, paired, ranked
from danlu.data.corruption.settings import CorruptionSettings
from danlu.data.corruption.words import Words
from danlu.data.order import Chance
from danlu.data.packing import Packed
from danlu.errors import DanluError

NOISE, KEPT, MODE = range(3)  # streams of chance: how noise and text are cut, which denoiser
SHARE = 0.15


@dataclass(frozen=True)
class Denoiser:
    """`mode` is the role of the token that announces it; a mean of None is one span, at the end of the text."""

    mode: str
    share: float
    mean: float | None


# Tay et al. 2022, table 1: regular, extreme (long spans or much noise), sequential; each as often as the others.
DENOISERS = (
    Denoiser("regular", 0.15, 3), Denoiser("regular", 0.15, 8), Denoiser("sequential", 0.25, None),
    Denoiser("extreme", 0.5, 3), Denoiser("extreme", 0.5, 8), Denoiser("extreme", 0.15, 64),
    Denoiser("extreme", 0.5, 64),
)  # fmt: skip


def spans(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """T5's span corruption (Raffel et al. 2020, 3.1.4): `share` of a text in spans of `mean` tokens on average.

    Source: a sentinel in the place of each span. Answer: each sentinel with its span. The texts begin undamaged and
    end in a span, so that their lengths follow from `reach` alone.
    """
    return _denoised(rows, chance, [Denoiser("", settings.share or SHARE, settings.mean)], words)


def mixture(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """UL2: each text has a denoiser of its own, announced by its mode token where the tokenizer has one."""
    return _denoised(rows, chance, DENOISERS, words)


def reach(length: int, settings: CorruptionSettings) -> int:
    """How many tokens a row must be packed with for its source to have `length` places."""
    if settings.kind != "spans":
        return length
    denoiser = Denoiser("", settings.share or SHARE, settings.mean)
    whole = np.arange(length, 4 * length + 8)
    noise, count = _amounts(whole - 1, np.full(len(whole), denoiser.share), np.full(len(whole), settings.mean), length)
    return int(whole[whole - noise + count <= length].max(initial=length))


def _denoised(rows: Packed, chance: Chance, denoisers: Sequence[Denoiser], words: Words) -> Batch:
    if not words.sentinels:
        raise DanluError("E1222", role="<extra_id_0>", found=dict(words.special))
    frame = words.frame
    given, width = Fragments.of(rows, frame), rows.tokens.shape[1]
    which = (chance.draw(width, MODE)[given.first] * len(denoisers)).astype(np.int64)
    share = np.array([each.share for each in denoisers])[which]
    mean = np.array([each.mean or np.inf for each in denoisers])[which]
    noise, count = _amounts(given.length, share, mean, len(words.sentinels))
    draws = [chance.draw(width, stream) for stream in (NOISE, KEPT)]
    some = count > 0  # a text of one token stays whole
    lengths, gaps = (
        composed(total[some], count[some], draw[given.prefixes(np.where(some, total, 0))])
        for total, draw in zip((noise, given.length - noise), draws, strict=True)
    )
    owner, number = np.repeat(np.arange(len(given)), count), ranked(count)
    before = np.cumsum(np.where(some, given.length, 0)) - given.length
    begins = np.cumsum(gaps + lengths) - lengths - before[owner]
    hidden = _marked(given, owner, begins, lengths)
    sentinels = Flat(np.array(words.sentinels)[number], owner, begins.astype(np.float64) - 0.5)
    body = given.bodies()
    modes = [
        marks(words.special[denoiser.mode], chosen, np.full(len(chosen), -1.0))
        for denoiser, chosen in ((each, np.flatnonzero(which == index)) for index, each in enumerate(denoisers))
        if denoiser.mode in words.special
    ]
    source = given.laid(given.woven(*modes, body.only(~hidden), sentinels, frame=frame), frame.padding)
    asked = given.woven(sentinels, body.only(hidden), frame=frame)
    answers = given.laid(asked, frame.padding)
    target = given.laid(given.delayed(asked, words.opening), frame.padding)
    return paired(source, target, answers)


def _amounts(
    length: Numbers, share: NDArray[np.float64], mean: NDArray[np.float64], most: int
) -> tuple[Numbers, Numbers]:
    """Tokens of noise and number of spans in texts of these lengths; none where there is but one token."""
    noise = np.clip(np.round(length * share).astype(np.int64), 1, np.maximum(length - 1, 1))
    noise = np.where(length < 2, 0, noise)
    count = np.clip(np.round(noise / mean).astype(np.int64), 1, most)
    return noise, np.minimum(count, np.minimum(noise, length - noise))


def _marked(given: Fragments, owner: Numbers, begins: Numbers, lengths: Numbers) -> NDArray[np.bool_]:
    """Which body tokens lie in spans, (N,)."""
    offset = np.cumsum(given.length) - given.length
    found = np.zeros(len(given.owner), bool)
    found[np.repeat(offset[owner] + begins, lengths) + ranked(lengths)] = True
    return found
