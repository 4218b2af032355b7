"""What is done to packed rows before a model sees them: pure functions of the rows and of chance that is counted out.

`CORRUPTIONS` is the table: a name -> how rows are framed for it, how many tokens a row needs, how many ahead, and the
function (rows, chance, settings, words) -> Batch.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from danlu.data.batch import Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption.causal import middle, middle_frame, prefix
from danlu.data.corruption.causal import shift as shift
from danlu.data.corruption.infill import infill
from danlu.data.corruption.mask import mask_tokens as mask_tokens
from danlu.data.corruption.mask import plain
from danlu.data.corruption.pairs import PairRows
from danlu.data.corruption.settings import CorruptionSettings as CorruptionSettings
from danlu.data.corruption.settings import Kind
from danlu.data.corruption.spans import mixture, reach, spans
from danlu.data.corruption.translation import translation
from danlu.data.corruption.words import Words as Words
from danlu.data.order import Chance as Chance
from danlu.data.packing import Frame, Packed, Rows, causal_frame, masked_frame
from danlu.errors import DanluError

Corrupt = Callable[[Packed, Chance], Batch]


class Corruption(NamedTuple):
    """A row of the table. `roles`: the special tokens it cannot do without."""

    apply: Callable[[Packed, Chance, CorruptionSettings, Words], Batch]
    frame: Callable[[Mapping[str, int]], Frame]
    roles: tuple[str, ...] = ()
    ahead: int = 0
    reach: Callable[[int, CorruptionSettings], int] = lambda length, settings: length


CORRUPTIONS: Mapping[Kind, Corruption] = {
    "mask": Corruption(mask_tokens, masked_frame, ("mask",)),
    "plain": Corruption(plain, masked_frame),
    "shift": Corruption(shift, causal_frame, ahead=1),
    "prefix": Corruption(prefix, causal_frame, ahead=1),
    "middle": Corruption(middle, middle_frame, ("before", "after", "between"), reach=lambda length, _: length + 1),
    "spans": Corruption(spans, masked_frame, ("end",), reach=reach),
    "infill": Corruption(infill, masked_frame, ("mask",)),
    "mixture": Corruption(mixture, masked_frame, ("end",)),
    "translation": Corruption(translation, masked_frame, ("mask", "separator")),
}


def kind_of(settings: CorruptionSettings, words: Words) -> Kind:
    """The name in the table that the settings mean."""
    if settings.kind != "auto":
        return settings.kind
    return "spans" if words.sentinels else "mask" if "mask" in words.special else "shift"


def pack(corpus: Corpus, length: int, settings: CorruptionSettings, words: Words) -> Rows:
    """The rows a corruption wants, such that the model reads `length` places of each."""
    kind = kind_of(settings, words)
    if settings.pairs != "none":
        return PairRows(corpus, length, words, settings.pairs == "order")
    chosen = CORRUPTIONS[kind]
    return Rows(corpus, chosen.reach(length, settings), chosen.frame(words.special), chosen.ahead)


def corruption(settings: CorruptionSettings, words: Words) -> Corrupt:
    """(rows, chance) -> Batch. E1222 where the tokenizer lacks what it takes, E1223 where it has no ordinary words,
    E1225 where pairs are asked for and the corruption has no place for them."""
    kind = kind_of(settings, words)
    if settings.pairs != "none" and kind not in ("mask", "plain"):
        raise DanluError("E1225", found=kind, possible=["mask", "plain"])
    for role in CORRUPTIONS[kind].roles:
        words.role(role)
    if not len(words.ordinary):
        raise DanluError("E1223", found=words.vocabulary)
    apply = CORRUPTIONS[kind].apply
    return lambda rows, chance: apply(rows, chance, settings, words)
