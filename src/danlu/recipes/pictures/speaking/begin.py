"""What a language model that sees begins with: its weights, its tokenizer, its eyes; and its rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import nn

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
from danlu.errors import DanluError
from danlu.generate.seeing import Seer
from danlu.models.build import build as build_model
from danlu.models.dual import DualConfig, DualEncoder
from danlu.models.eyes import default_processor
from danlu.models.families import FAMILIES
from danlu.models.families.llava import joined
from danlu.models.families.seeing import MARKS, seeing
from danlu.models.language import LanguageModelConfig
from danlu.models.multimodal import MultimodalConfig, MultimodalModel, ProjectorConfig
from danlu.nn.parameters import assign
from danlu.recipes.pictures.plan import Plan
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.recipes.starting.start import fresh_tokenizer
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer
from danlu.vision.tower import PictureConfig
from danlu.voice import Voice

EYES = "llava"  # the family of a language model that was given a tower
PATCHES = "patches"  # in the place of a CLIP: no tower
BARE: Data = {"size": 64, "patch": 8, "common": 128, "both_ways": True}
PLAIN: Data = {"shuffle": 1, "axes": False, "both_ways": False, "common": None}  # as published; `model` says otherwise


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


# The model


def begin(ready: Plan[TeachSeeing], voice: Voice) -> tuple[Checkpoint, Material]:
    """The model before its first step, and the decoded pictures."""
    checkpoint = start_model(ready, voice)
    return checkpoint, material(ready.gathered, ready.settings, checkpoint, voice)


def start_model(ready: Plan[TeachSeeing], voice: Voice) -> Checkpoint:
    """Fresh, read, or put together from a language model and a CLIP. E2217 where there is neither eye nor tower."""
    settings, start = ready.settings, ready.start
    if start.where is None:
        tokenizer = make_tokenizer(ready, voice)
        ids = tuple(tokenizer.id(mark) for mark in MARKS)
        config = start.with_vocabulary(tokenizer.vocabulary, settings.model | {"ids": ids})
        assert isinstance(config, MultimodalConfig)
        model = build_model(config, "cpu", settings.seed)
        return Checkpoint(start.family, config, model, tokenizer, processor=default_processor(config))
    checkpoint = Checkpoint.load(start.where)
    if isinstance(checkpoint.model, MultimodalModel):
        return checkpoint
    config = checkpoint.config
    if settings.tower is None or not isinstance(config, LanguageModelConfig) or not config.causal:
        raise DanluError("E2217", where=start.name, found=config.kind)
    if settings.tower == PATCHES:
        return with_patches(checkpoint, settings)
    return with_eyes(checkpoint, Checkpoint.load(settings.tower), settings)


def make_tokenizer(ready: Plan[TeachSeeing], voice: Voice) -> Tokenizer:
    """The one that was given, the one an interrupted run has kept, or a fresh one, learnt from what is said."""
    settings, family = ready.settings, ready.start.family
    kept = ready.run.path / "checkpoints" / "tokenizer"
    if (kept / "special_tokens_map.json").is_file():  # written last
        return Tokenizer.read(kept)
    if settings.tokenizer.path:
        tokenizer = _marked(Tokenizer.read(settings.tokenizer.path))
    else:
        said = (text for pair in ready.gathered.training for asked in questions(pair) for text in asked if text)
        tokenizer = fresh_tokenizer(said, settings.tokenizer, family, voice)
    if ready.run.path.is_dir():
        tokenizer.write(kept)
    return tokenizer


def with_eyes(trunk: Checkpoint, eyes: Checkpoint, settings: TeachSeeing) -> Checkpoint:
    """A language model given the tower of a CLIP, and a fresh projector. E2218 where that has no patches."""
    tower = eyes.config
    if not isinstance(tower, DualConfig) or not isinstance(tower.image, PictureConfig):
        raise DanluError("E2218", where=settings.tower, found=eyes.family.name)
    tokenizer, config, (opening, media, closing) = _ready(trunk)
    words = PLAIN | settings.model
    projector = ProjectorConfig(shuffle=words.pop("shuffle"))
    made = joined(config, tower.image, media, projector, before=(opening,), after=(closing,), **words)
    model = build_model(made, "cpu", settings.seed)
    _take(model, trunk.model, "")
    assert isinstance(eyes.model, DualEncoder)
    _take(model, eyes.model.image, "image.")
    lineage = {"before": trunk.lineage, "tower": eyes.lineage}
    return Checkpoint(FAMILIES[EYES], made, model.eval(), tokenizer, lineage, processor=eyes.processor)


def with_patches(trunk: Checkpoint, settings: TeachSeeing) -> Checkpoint:
    """A language model that looks at patches itself."""
    tokenizer, config, ids = _ready(trunk)
    made = seeing(config, **(BARE | settings.model), ids=ids)
    model = build_model(made, "cpu", settings.seed)
    _take(model, trunk.model, "")
    family = FAMILIES["palm-vision" if made.axes else "gpt3-vision"]
    lineage = {"before": trunk.lineage}
    return Checkpoint(family, made, model.eval(), tokenizer, lineage, processor=default_processor(made))


def _ready(trunk: Checkpoint) -> tuple[Tokenizer, LanguageModelConfig, tuple[int, int, int]]:
    """A tokenizer with the marks around pictures, a config with room for them, and their ids. E1903 without one."""
    if trunk.tokenizer is None:
        raise DanluError("E1903", where=trunk.where)
    tokenizer, config = _marked(trunk.tokenizer), trunk.config
    assert isinstance(config, LanguageModelConfig)
    vocabulary = max(config.vocabulary, tokenizer.vocabulary)
    wider = config.embedding.model_copy(update={"vocabulary": vocabulary})
    opening, media, closing = (tokenizer.id(mark) or 0 for mark in MARKS)
    return tokenizer, config.model_copy(update={"embedding": wider}), (opening, media, closing)


def _take(model: nn.Module, source: nn.Module, prefix: str) -> None:
    """The weights of a part, under a prefix, as far as the model has them. New rows of a table begin as the mean of the
    others."""
    theirs = {prefix + name: tensor.detach() for name, tensor in source.named_parameters(remove_duplicate=False)}
    found = {}
    for name, own in model.named_parameters(remove_duplicate=False):
        if name in theirs:
            taken = theirs[name].to(own.dtype)
            if taken.shape != own.shape:
                grown = own.detach().clone()
                grown[: len(taken)] = taken
                grown[len(taken) :] = taken.float().mean(0).to(grown.dtype)
                taken = grown
            found[name] = taken
    assign(model, found)


def _marked(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that has the marks around pictures."""
    missing = [mark for mark in MARKS if tokenizer.id(mark) is None]
    return tokenizer.extend(missing) if missing else tokenizer


# The rows


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


def new_parts(model: MultimodalModel, times: float) -> dict[str, float]:
    """What a trunk that has learnt did not have: it learns so many times as fast."""
    new = ("projector.", "common.", "similarity.") if model.projector else ("image.", "common.", "similarity.")
    return {name: times for name, _ in model.named_parameters() if name.startswith(new)}
