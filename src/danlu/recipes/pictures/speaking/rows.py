"""What a language model that sees is trained on: pictures and films with what is asked about them, and text between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from danlu.checkpoint import Checkpoint
from danlu.data.batch import Batch
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.division import divide as divide_text
from danlu.data.ledger import Ledger
from danlu.data.loader import Loader
from danlu.data.pictures.loader import Augmentation
from danlu.data.pictures.pairs import Pair
from danlu.data.pictures.prepare import Gathered, divide
from danlu.data.pictures.sheets import Asked, SheetLoader
from danlu.data.pictures.store import Store
from danlu.data.settings import DataSettings
from danlu.data.turns import Turns
from danlu.generate.seeing import Seer
from danlu.recipes.pictures.plan import Plan
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.voice import Voice


@dataclass(frozen=True)
class Side:
    """The pictures, or the films, of one side, and as a loader takes them."""

    pairs: Sequence[Pair]
    data: Asked
    frames: int

    def asked(self) -> Iterator[tuple[int, str, str]]:
        """(number of a picture, a question, its answer), all of them."""
        for number, pair in enumerate(self.pairs):
            for question, answer in questions(pair):
                yield number, question, answer


@dataclass(frozen=True)
class Material:
    """Sides of pictures, of films, or of both."""

    training: Sequence[Side]
    validation: Sequence[Side]
    ledger: Ledger


class Mixed(Turns):
    """Batches of pictures, of films and of text in turns; their targets go by the same names."""

    def batch(self, step: int) -> Batch:
        name, own = self.whose(step)
        return self.loaders[name].batch(own)


def questions(pair: Pair) -> tuple[tuple[str, str], ...]:
    """What is asked about a picture; where nothing is, its captions are answers to nothing."""
    return pair.questions or tuple(("", caption) for caption in pair.captions)


def material(gathered: Gathered, settings: TeachSeeing, checkpoint: Checkpoint, voice: Voice) -> Material:
    """Pictures and films decoded, divided, and what is said of them as ids. E2215 where a row has no room for words."""
    assert checkpoint.processor
    ledger = gathered.ledger.copied()
    training, validation = list[Side](), list[Side]()
    seer = Seer(checkpoint)
    for kind in gathered.kinds():
        made = divide(kind, settings.data, checkpoint.processor, ledger, voice)
        frames = settings.data.frames if kind.films else 1
        both = [(made.training, made.trained, training), (made.validation, made.held, validation)]
        for store, index, sides in both:
            side = _side(store, index, frames, seer)
            if side.pairs:
                sides.append(side)
        ledger.trained += len(made.trained)
        ledger.held_out += len(made.held)
    return Material(training, validation, ledger.check())


def _side(store: Store, index: NDArray[np.int64], frames: int, seer: Seer) -> Side:
    pairs = [store.pairs[number] for number in index]
    texts: dict[str, int] = {}
    captions: dict[str, int] = {}
    asked = [
        [(texts.setdefault(question, len(texts)), texts.setdefault(answer, len(texts)))
         for question, answer in questions(pair)]
        for pair in pairs
    ]  # fmt: skip
    said = [[captions.setdefault(each, len(captions)) for each in pair.captions] for pair in pairs]
    ids = seer.tokenizer.encode_many(list(texts), specials=False)
    framed = [seer.tokenizer.frame(each) for each in seer.tokenizer.encode_many(list(captions), specials=False)]
    return Side(pairs, Asked(store.pixels, index, asked, ids, said, framed), frames)


def loader(
    checkpoint: Checkpoint, side: Side, settings: TeachSeeing, batch: int, seed: int, *, shuffle: bool,
    paired: bool = False,
) -> SheetLoader:  # fmt: skip
    assert checkpoint.processor
    seer = Seer(checkpoint)
    sheet, size = seer.sheet(side.frames, settings.data.length), min(batch, len(side.pairs))
    return SheetLoader(
        side.data, sheet, checkpoint.processor, size, seed,
        most=settings.data.asked, shuffle=shuffle, framing=seer.matcher.framing if paired else None,
        augmentation=Augmentation(settings.data.crop, settings.data.flip),
    )  # fmt: skip


def stream(ready: Plan[TeachSeeing], checkpoint: Checkpoint, made: Material, voice: Voice) -> SheetLoader | Mixed:
    """What a run trains on: pictures, films, and, where it was asked for, text."""
    settings = ready.settings
    paired = bool(settings.pairs.weight)
    make = partial(loader, checkpoint, settings=settings, batch=settings.train.batch, seed=settings.seed, shuffle=True)
    seen: dict[str, SheetLoader] = {f"{side.frames} frames": make(side, paired=paired) for side in made.training}
    weights = {name: float(len(each.data)) for name, each in seen.items()}
    if not settings.text.paths:
        return next(iter(seen.values())) if len(seen) == 1 else Mixed(seen, weights, settings.train.accumulate)
    share = settings.text.share / (1 - settings.text.share) * sum(weights.values())
    return Mixed(
        {**seen, "text": text_loader(settings, checkpoint, voice)}, weights | {"text": share}, settings.train.accumulate
    )


def text_loader(settings: TeachSeeing, checkpoint: Checkpoint, voice: Voice) -> Loader:
    """Rows of plain text, as long as those about pictures at most."""
    assert checkpoint.tokenizer
    words = Words.of(checkpoint.tokenizer, checkpoint.family.start, ())
    noise = CorruptionSettings(kind="shift")
    data = DataSettings(paths=settings.text.paths, held_out=0.0, cache=settings.data.cache)
    corpus = divide_text(data, checkpoint.tokenizer, voice).training
    length = min(checkpoint.config.length or 256, settings.data.length or 256)
    return Loader(
        pack(corpus, length, noise, words), corruption(noise, words), settings.train.batch, settings.seed, True, None
    )
