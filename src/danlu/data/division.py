"""What is trained on, and what is kept apart to measure by."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from danlu.data.corpus import Corpus
from danlu.data.ledger import Ledger
from danlu.data.order import mixed
from danlu.data.settings import spoken
from danlu.data.shards import Encoder, prepare
from danlu.data.sifting import sift
from danlu.data.sources import DataSettings, resolved
from danlu.errors import DanluError
from danlu.voice import Voice

MANY = 100  # documents, from which on whole ones are kept apart rather than the ends of long ones
AUTO_SHARE, AUTO_TOKENS = 0.05, 1_000_000
XLM_SAMPLING = 0.7  # Lample, Conneau 2019, 5.1


@dataclass(frozen=True)
class Division:
    """`validation` is None where nothing is held out. The ledger counts the rows of both."""

    training: Corpus
    validation: Corpus | None
    ledger: Ledger


def divide(settings: DataSettings, tokenizer: Encoder, voice: Voice) -> Division:
    """Training and validation text as the settings say, tokenised; of several sources each is divided for itself.

    Errors of `prepare`; E1224 where a side that was asked for is empty, E1229 where no source is ever drawn.
    """
    settings = resolved(settings)
    said: set[str] = set()
    weights, sieve = weights_of(settings), sift(settings, voice)
    corpora = [
        replace(prepare(part, tokenizer, voice, said=said, sieve=sieve, name=name), name=name, languages=spoken(part))
        for name, part in settings.parts.items()
    ]
    if settings.sources:
        corpora = [replace(each, weight=weight) for each, weight in zip(corpora, weights, strict=True)]
    sampling = sampling_of(settings)
    if settings.validation:
        validation = prepare(settings, tokenizer, voice, settings.validation, said)
        kept = replace(validation.ledger, trained=0, held_out=validation.ledger.trained)
        training = _whole(corpora, sampling)
        return Division(training, validation, training.ledger.merged(kept).check())
    size = sum(corpus.size for corpus in corpora)
    share = min(AUTO_SHARE, AUTO_TOKENS / size) if settings.held_out == "auto" else settings.held_out
    if not share:
        training = _whole(corpora, sampling)
        return Division(training, None, training.ledger)
    return _joined([_divided(each, share, settings.held_out == "auto", voice) for each in corpora], sampling)


def weights_of(settings: DataSettings) -> list[float | None]:
    """The weight of each source; where one has a weight, those without count 1. E1229 where none can be drawn."""
    given = [settings.sources[name].weight if name in settings.sources else None for name in settings.parts]
    said = {name: source.weight for name, source in settings.sources.items() if source.weight is not None}
    if not said:
        return given
    weights = [1.0 if weight is None else weight for weight in given]
    if min(weights) < 0 or not sum(weights):
        raise DanluError("E1229", found={name: weight for name, weight in said.items() if weight <= 0}, possible="> 0")
    return list(weights)


def sampling_of(settings: DataSettings) -> float:
    """The exponent that sources without weights are drawn by."""
    if settings.sampling != "auto":
        return settings.sampling
    return XLM_SAMPLING if len(settings.languages) > 1 else 1.0


def _whole(corpora: list[Corpus], sampling: float) -> Corpus:
    return corpora[0] if len(corpora) == 1 else Corpus.joined(corpora, sampling)


def _joined(sides: list[Division], sampling: float) -> Division:
    training = _whole([side.training for side in sides], sampling)
    held = [side.validation for side in sides if side.validation]
    ledger = sides[0].ledger
    for side in sides[1:]:
        ledger = ledger.merged(side.ledger)
    return Division(training, _whole(held, sampling) if held else None, ledger.check())


def _divided(corpus: Corpus, share: float, auto: bool, voice: Voice) -> Division:
    """A text too small to be divided is trained on whole, if nobody asked for a part of it."""
    try:
        return split(corpus, share)
    except DanluError as error:
        if not auto or error.code != "E1224":
            raise
    named = f"{corpus.name}: " if corpus.name else ""
    voice.say(
        f"{named}too little text to set some aside: nothing is measured on text that was not trained on",
        f"{named}文本太少，无法留出验证部分：将没有训练之外的文本可供评测",
    )
    return Division(corpus, None, corpus.ledger)


def split(corpus: Corpus, share: float) -> Division:
    """About `share` of the text for validation: a pure function of the text.

    Of many documents, those whose hash says so, wherever they stand; equal documents fall on the same side. Of few, the
    long ones give their last pieces, so that a single book is divided too.
    """
    pieces = corpus.pieces
    owners = np.cumsum(pieces.begins) - 1
    chance = mixed(pieces.hashes[corpus.heads]).astype(np.float64) / 2.0**64
    count = np.bincount(owners)
    if corpus.documents >= MANY or corpus.is_parallel or count.max() == 1:
        held = (chance <= max(share, chance.min()))[owners]
    else:
        given = np.where(count > 1, np.maximum(1, np.round(share * count)), 0)
        place = np.arange(len(pieces)) - corpus.heads[owners]
        held = place >= (count - given)[owners]
    if held.all():
        raise DanluError("E1224", share=f"{share:.1%}", found=f"{corpus.documents} documents")
    held_count = np.bincount(owners, held)
    ledger = replace(
        corpus.ledger,
        trained=int((held_count == 0).sum()),
        held_out=int((held_count == count).sum()),
        divided=int(((held_count > 0) & (held_count < count)).sum()),
    )
    return Division(_side(corpus, ~held), _side(corpus, held), ledger.check())


def _side(corpus: Corpus, chosen: NDArray[np.bool_]) -> Corpus:
    """Some of the pieces; the first that is left of a document begins it."""
    owners = np.cumsum(corpus.pieces.begins) - 1
    pieces, owners = corpus.pieces[chosen], owners[chosen]
    begins = np.concatenate([[True], owners[1:] != owners[:-1]])
    return corpus.with_pieces(replace(pieces, begins=begins), corpus.ledger)
