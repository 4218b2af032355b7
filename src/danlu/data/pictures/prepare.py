"""From files to what a loader takes: pairs, divided into two sides, decoded, their captions as ids."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from danlu.data.ledger import Ledger
from danlu.data.pictures.loader import Captioned
from danlu.data.pictures.pairs import Pair, Pairing
from danlu.data.pictures.settings import PictureSettings
from danlu.data.pictures.store import Geometry, Store, fill
from danlu.errors import DanluError
from danlu.vision.processor import Processor
from danlu.voice import Voice

AUTO_SHARE, AUTO_MOST = 0.05, 1000
VARIED = 0.5  # captions a picture, from which on captions decide who is kept apart

Encode = Callable[[Sequence[str]], list[list[int]]]


@dataclass(frozen=True)
class Side:
    """The pairs of one side, and the same as a loader takes them; captions[i] is the text of row i of `data.tokens`."""

    pairs: Sequence[Pair]
    data: Captioned
    captions: Sequence[str]

    def caption(self, number: int) -> str:
        """The first caption of a picture."""
        return self.captions[self.data.texts[number][0]]


@dataclass(frozen=True)
class Prepared:
    training: Side
    validation: Side | None
    ledger: Ledger


@dataclass(frozen=True)
class Gathered:
    """Every pair of every source, before anything is decoded."""

    training: Sequence[Pair]
    validation: Sequence[Pair]
    ledger: Ledger

    def captions(self) -> Iterator[str]:
        return (caption for pair in self.training for caption in pair.captions)

    @property
    def films(self) -> bool:
        return all(pair.is_film for pair in self.training)


def gather(settings: PictureSettings, voice: Voice) -> Gathered:
    """Pairs by their files; several captions of one picture become one pair. Errors of `Pairing.pairs`."""
    ledger = Ledger()
    pairing = Pairing(settings, ledger, voice)
    sides = [_merged(pairing.pairs(paths), ledger) for paths in (settings.paths, settings.validation)]
    return Gathered(sides[0], sides[1], ledger)


def prepare(
    gathered: Gathered, settings: PictureSettings, processor: Processor, encode: Encode, voice: Voice
) -> Prepared:
    """encode: captions to framed ids. E1224 where a side is empty; errors of `fill`."""
    ledger = replace(gathered.ledger, dropped=gathered.ledger.dropped.copy(), details=list(gathered.ledger.details))
    geometry = Geometry(processor, settings.frames if gathered.films else 0, settings.pixels)
    store = fill(gathered.training, geometry, settings.cache_folder, ledger, voice)
    if settings.validation:
        other = fill(gathered.validation, geometry, settings.cache_folder, ledger, voice)
        training, held = (
            _side(store, np.arange(len(store.pairs)), encode),
            _side(other, np.arange(len(other.pairs)), encode),
        )
    else:
        share = settings.held_out if settings.held_out != "auto" else min(AUTO_SHARE, AUTO_MOST / len(store.pairs))
        apart = _apart(store, float(share)) if share else np.zeros(len(store.pairs), bool)
        if apart.all() or (share and not apart.any()):
            raise DanluError("E1224", share=f"{share:.1%}", found=f"{len(store.pairs)}")
        training, held = (_side(store, np.flatnonzero(part), encode) for part in (~apart, apart))
    ledger.trained, ledger.held_out = len(training.pairs), len(held.pairs)
    return Prepared(training, held if held.pairs else None, ledger.check())


def _side(store: Store, index: NDArray[np.int64], encode: Encode) -> Side:
    pairs = [store.pairs[number] for number in index]
    numbers: dict[str, int] = {}
    texts = [[numbers.setdefault(caption, len(numbers)) for caption in pair.captions] for pair in pairs]
    captions = list(numbers)
    return Side(pairs, Captioned(store.pixels, index, texts, encode(captions)), captions)


def _apart(store: Store, share: float) -> NDArray[np.bool_]:
    """Which pictures are kept apart: by the hash of the caption where captions vary, else of the picture, so that
    whatever is equal falls on one side."""
    firsts = [pair.captions[0] for pair in store.pairs]
    varied = len(set(firsts)) >= VARIED * len(firsts)
    keys = (text.encode() for text in firsts) if varied else (pixels.tobytes() for pixels in store.pixels)
    chance = np.array([int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) / 2**64 for key in keys])
    apart: NDArray[np.bool_] = chance <= max(share, float(chance.min()))
    return apart


def _merged(pairs: Sequence[Pair], ledger: Ledger) -> list[Pair]:
    """One pair a picture. The ledger counts pictures: rows that say more of one that is known already are not rows."""
    known: dict[tuple[int, str | int], int] = {}
    merged: list[Pair] = []
    for pair in pairs:
        key = (id(pair.place), pair.member)
        at = known.setdefault(key, len(merged))
        if at == len(merged):
            merged.append(pair)
        else:
            both = dict.fromkeys((*merged[at].captions, *pair.captions))
            merged[at] = replace(merged[at], captions=tuple(both))
            ledger.read = (ledger.read or 1) - 1
    return merged
