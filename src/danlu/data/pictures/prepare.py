"""From files to what a loader takes: pairs, divided into two sides, decoded, their captions as ids."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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

    def kinds(self) -> list["Gathered"]:
        """Pictures and films apart, each kind that there is; they share the ledger."""
        found = []
        for film in (False, True):
            sides = [[pair for pair in side if pair.is_film == film] for side in (self.training, self.validation)]
            if sides[0]:
                found.append(Gathered(sides[0], sides[1], self.ledger))
        return found


def gather(settings: PictureSettings, voice: Voice, asks: bool = False) -> Gathered:
    """Pairs by their files; all that is said of one picture becomes one pair. asks: questions are wanted, too. Errors
    of `Pairing.pairs`."""
    ledger = Ledger()
    pairing = Pairing(settings, ledger, voice, asks)
    sides = [_merged(pairing.pairs(paths), ledger) for paths in (settings.paths, settings.validation)]
    return Gathered(sides[0], sides[1], ledger)


class Divided(NamedTuple):
    """Decoded pictures of one shape, and which of them belong to which side; held out of another store, or of this."""

    training: Store
    trained: NDArray[np.int64]
    validation: Store
    held: NDArray[np.int64]


def prepare(
    gathered: Gathered, settings: PictureSettings, processor: Processor, encode: Encode, voice: Voice
) -> Prepared:
    """encode: captions to framed ids. E1224 where a side is empty; errors of `fill`."""
    ledger = gathered.ledger.copied()
    made = divide(gathered, settings, processor, ledger, voice)
    training, held = _side(made.training, made.trained, encode), _side(made.validation, made.held, encode)
    ledger.trained, ledger.held_out = len(training.pairs), len(held.pairs)
    return Prepared(training, held if held.pairs else None, ledger.check())


def divide(
    gathered: Gathered, settings: PictureSettings, processor: Processor, ledger: Ledger, voice: Voice
) -> Divided:
    """Every picture decoded, or in the ledger, and put on a side. E1224 where one is empty; errors of `fill`."""
    geometry = Geometry(processor, settings.frames if gathered.films else 0, settings.pixels)
    store = fill(gathered.training, geometry, settings.cache_folder, ledger, voice)
    if settings.validation and gathered.validation:
        other = fill(gathered.validation, geometry, settings.cache_folder, ledger, voice)
        return Divided(store, np.arange(len(store.pairs)), other, np.arange(len(other.pairs)))
    automatic = settings.held_out == "auto"
    share = min(AUTO_SHARE, AUTO_MOST / len(store.pairs)) if automatic else settings.held_out
    apart = _apart(store, float(share)) if share and not settings.validation else np.zeros(len(store.pairs), bool)
    if apart.all() or (share and not settings.validation and not apart.any()):
        raise DanluError("E1224", share=f"{share:.1%}", found=f"{len(store.pairs)}")
    return Divided(store, np.flatnonzero(~apart), store, np.flatnonzero(apart))


def _side(store: Store, index: NDArray[np.int64], encode: Encode) -> Side:
    pairs = [store.pairs[number] for number in index]
    numbers: dict[str, int] = {}
    texts = [[numbers.setdefault(caption, len(numbers)) for caption in pair.captions] for pair in pairs]
    captions = list(numbers)
    return Side(pairs, Captioned(store.pixels, index, texts, encode(captions)), captions)


def _apart(store: Store, share: float) -> NDArray[np.bool_]:
    """Which pictures are kept apart: by the hash of the caption where captions vary, else of the picture, so that
    whatever is equal falls on one side."""
    firsts = [pair.captions[0] if pair.captions else "" for pair in store.pairs]
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
            captions = dict.fromkeys((*merged[at].captions, *pair.captions))
            questions = dict.fromkeys((*merged[at].questions, *pair.questions))
            merged[at] = replace(merged[at], captions=tuple(captions), questions=tuple(questions))
            ledger.read = (ledger.read or 1) - 1
    return merged
