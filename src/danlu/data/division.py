"""What is trained on, and what is kept apart to measure by."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from danlu.data.corpus import Corpus
from danlu.data.ledger import Ledger
from danlu.data.order import mixed
from danlu.data.shards import Encoder, prepare
from danlu.data.sources import DataSettings, resolved
from danlu.errors import DanluError
from danlu.voice import Voice

MANY = 100  # documents, from which on whole ones are kept apart rather than the ends of long ones
AUTO_SHARE, AUTO_TOKENS = 0.05, 1_000_000


@dataclass(frozen=True)
class Division:
    """`validation` is None where `held_out` is 0. The ledger counts the rows of both."""

    training: Corpus
    validation: Corpus | None
    ledger: Ledger


def divide(settings: DataSettings, tokenizer: Encoder, voice: Voice) -> Division:
    """Training and validation text as the settings say, tokenised. Errors of `prepare`; E1224 where a side is empty."""
    settings = resolved(settings)
    said: set[str] = set()
    corpus = prepare(settings, tokenizer, voice, said=said)
    if settings.validation:
        validation = prepare(settings, tokenizer, voice, settings.validation, said)
        kept = replace(validation.ledger, trained=0, held_out=validation.ledger.trained)
        return Division(corpus, validation, corpus.ledger.merged(kept).check())
    share = min(AUTO_SHARE, AUTO_TOKENS / corpus.size) if settings.held_out == "auto" else settings.held_out
    return split(corpus, share) if share else Division(corpus, None, corpus.ledger)


def split(corpus: Corpus, share: float) -> Division:
    """About `share` of the text for validation: a pure function of the text.

    Of many documents, those whose hash says so, wherever they stand; equal documents fall on the same side. Of few, the
    long ones give their last pieces, so that a single book is divided too.
    """
    pieces = corpus.pieces
    owners = np.cumsum(pieces.begins) - 1
    chance = mixed(pieces.hashes[corpus.heads]).astype(np.float64) / 2.0**64
    count = np.bincount(owners)
    if corpus.documents >= MANY or count.max() == 1:
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
