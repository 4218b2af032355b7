"""Writing on: the next token, the rest after a beginning seen whole, what was cut out of the middle."""

from collections.abc import Mapping

import numpy as np

from danlu.data.batch import IGNORED, Batch
from danlu.data.corruption.fragments import Fragments, batched, marks
from danlu.data.corruption.settings import CorruptionSettings
from danlu.data.corruption.words import Words
from danlu.data.order import Chance
from danlu.data.packing import Frame, Packed, causal_frame

PIVOT, SECOND, FATE, ORDER = range(4)  # streams of chance: where a text is cut, whether it is, in which order it stands


def shift(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Causal language modelling: every token should have answered the next one of its document.

    The first token of the following document is asked for only where it is the sign that this one has ended.
    """
    following = rows.tokens[:, 1:]
    same = rows.documents[:, 1:] == rows.documents[:, :-1]
    asked = rows.valid[:, 1:] & (same | (following == words.special.get("end", -1)))
    return batched(without_last(rows), {"tokens": np.where(asked, following, IGNORED)})


def prefix(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Prefix language modelling (Liu et al. 2018; Raffel et al. 2020, 3.2.1): steps 0 0 0 1 2 …

    Each text of a row is cut at a place of its own; what stands before sees itself whole and is not asked for.
    """
    batch = shift(rows, chance, settings, words)
    documents = rows.documents[:, :-1]
    column = np.arange(documents.shape[1])
    border = np.ones(documents.shape, bool)
    border[:, 1:] = documents[:, 1:] != documents[:, :-1]
    start = np.maximum.accumulate(np.where(border, column, 0), axis=1)
    last = np.ones(documents.shape, bool)
    last[:, :-1] = border[:, 1:]
    stop = np.minimum.accumulate(np.where(last, column + 1, len(column))[:, ::-1], axis=1)[:, ::-1]
    cut = np.take_along_axis(chance.draw(len(column), PIVOT), start, axis=1)
    pivot = start + (cut * (stop - start)).astype(np.int64)  # the last place of the prefix
    steps = np.maximum(column - pivot, 0)
    targets = np.where(column >= pivot, batch.targets["tokens"].numpy(), IGNORED)
    return batched(without_last(rows), {"tokens": targets}, {"steps": steps})


def without_last(rows: Packed) -> Packed:
    """Rows without their last column, which is only an answer."""
    languages = None if rows.languages is None else rows.languages[:, :-1]
    return Packed(rows.tokens[:, :-1], rows.documents[:, :-1], rows.valid[:, :-1], languages=languages)


def middle_frame(special: Mapping[str, int]) -> Frame:
    """The causal frame around every fragment, with three places kept for the marks; those not needed go."""
    plain = causal_frame(special)
    return Frame(plain.prefix, plain.suffix + 3 * (plain.padding,), every_fragment=True, padding=plain.padding)


def middle(rows: Packed, chance: Chance, settings: CorruptionSettings, words: Words) -> Batch:
    """Fill in the middle (Bavarian et al. 2022): a text cut in three is written prefix, suffix, middle.

    PSM: <before> prefix <after> suffix <between> middle. SPM: <before> <after> suffix <between> prefix middle.
    """
    packed, given = causal_frame(words.special), Fragments.of(rows, middle_frame(words.special))
    width = rows.tokens.shape[1]
    fate, turn = (chance.draw(width, stream)[given.first] for stream in (FATE, ORDER))
    cuts = np.stack([chance.draw(width, stream)[given.first] for stream in (PIVOT, SECOND)])
    low, high = np.sort((cuts * (given.length + 1)).astype(np.int64), axis=0)
    parted, swapped = fate < settings.middle, turn < settings.suffix_first
    body = given.bodies()
    end = given.length.astype(np.float64)
    # Three groups of places one behind the other: 0 … n, 2n … 3n, 4n … 5n; the marks stand just before them.
    prefix = np.where(swapped & parted, 4 * end, 0)
    at = [2 * end, 4 * end]
    own = body.place < low[body.owner], body.place >= high[body.owner]
    places = np.select(
        [~parted[body.owner], own[0], own[1]],
        [body.place, prefix[body.owner] + body.place, at[0][body.owner] + body.place],
        at[1][body.owner] + body.place,
    )
    cut = np.flatnonzero(parted)
    signs = [
        marks(words.role(role), cut, place[cut] - 0.5)
        for role, place in (("before", np.zeros(len(end))), ("after", at[0]), ("between", at[1]))
    ]
    written = given.woven(*signs, body._replace(place=places), frame=packed)
    laid = given.laid(written, packed.padding, width)
    return shift(laid, chance, settings, words)
