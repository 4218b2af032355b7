"""What is done to packed rows before a model sees them: pure functions of the rows and of chance that is counted out.

`CORRUPTIONS` is the table: a name -> how rows are framed for it, how many tokens a row needs, how many ahead, and the
function (rows, chance, settings, words) -> Batch.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from danlu.data.batch import Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption.causal import middle, middle_frame, prefix
from danlu.data.corruption.causal import shift as shift
from danlu.data.corruption.infill import infill
from danlu.data.corruption.mask import detect, plain
from danlu.data.corruption.mask import mask_tokens as mask_tokens
from danlu.data.corruption.pairs import PairRows
from danlu.data.corruption.settings import CorruptionSettings as CorruptionSettings
from danlu.data.corruption.settings import Kind
from danlu.data.corruption.spans import mixture, reach, spans
from danlu.data.corruption.translation import TranslationRows, translation
from danlu.data.corruption.words import Words as Words
from danlu.data.mixing import MixedRows, portions
from danlu.data.order import Chance as Chance
from danlu.data.packing import Frame, Packed, Rows, causal_frame
from danlu.errors import DanluError

Corrupt = Callable[[Packed, Chance], Batch]
LOOK = 1 << 20  # tokens


class Corruption(NamedTuple):
    """A row of the table. `roles`: the special tokens it cannot do without."""

    apply: Callable[[Packed, Chance, CorruptionSettings, Words], Batch]
    frame: Callable[[Words], Frame]
    roles: tuple[str, ...] = ()
    ahead: int = 0
    reach: Callable[[int, CorruptionSettings], int] = lambda length, settings: length


def fragments(words: Words) -> Frame:
    return words.frame


def stream(words: Words) -> Frame:
    return causal_frame(words.special)


def parted(words: Words) -> Frame:
    return middle_frame(words.special)


CORRUPTIONS: Mapping[Kind, Corruption] = {
    "mask": Corruption(mask_tokens, fragments, ("mask",)),
    "plain": Corruption(plain, fragments),
    "shift": Corruption(shift, stream, ahead=1),
    "prefix": Corruption(prefix, stream, ahead=1),
    "middle": Corruption(middle, parted, ("before", "after", "between"), reach=lambda length, _: length + 1),
    "spans": Corruption(spans, fragments, ("end",), reach=reach),
    "infill": Corruption(infill, fragments, ("mask",)),
    "mixture": Corruption(mixture, fragments, ("end",)),
    "detect": Corruption(detect, fragments, ("mask",)),
    "translation": Corruption(translation, fragments, ("mask", "separator")),
}


def kind_of(settings: CorruptionSettings, words: Words) -> Kind:
    """The name in the table that the settings mean."""
    if settings.kind != "auto":
        return settings.kind
    return "spans" if words.sentinels else "mask" if "mask" in words.special else "shift"


def pack(corpus: Corpus, length: int, settings: CorruptionSettings, words: Words) -> Rows:
    """The rows a corruption wants, such that the model reads `length` places of each; of several sources, mixed.

    Translations are read as such by `translation` alone, which reads nothing else; by others, side by side.
    E1227 for a language that the model does not know, E1231 where translations are asked for and there are none.
    """
    kind, parts = kind_of(settings, words), corpus.parts or (corpus,)
    if kind == "translation":
        chosen = [part for part in parts if part.is_parallel] or list(parts)
        if not (chosen[0].is_parallel or _has_sides(corpus, words)):
            raise DanluError("E1231", found=[part.name for part in parts if part.name])
    else:
        chosen = [side for part in parts for side in part.apart()]
    rows = [_packed(each, length, settings, words, kind) for each in chosen]
    return rows[0] if len(rows) == 1 else MixedRows(rows, portions(chosen, corpus.sampling))


def _packed(corpus: Corpus, length: int, settings: CorruptionSettings, words: Words, kind: Kind) -> Rows:
    """The rows of one source."""
    numbers = [words.language(name, corpus.name) for name in corpus.languages]
    told = [number for number in numbers if number is not None]
    if kind == "translation" and corpus.is_parallel:
        return TranslationRows(corpus, length, words, told or None)
    language = told[0] if told else None
    if settings.pairs != "none":
        return PairRows(corpus, length, words, settings.pairs == "order", language)
    row = CORRUPTIONS[kind]
    return Rows(corpus, row.reach(length, settings), row.frame(words), row.ahead, language=language)


def _has_sides(corpus: Corpus, words: Words) -> bool:
    """Whether there are separators inside documents, as far as the first of them show."""
    places = np.arange(min(len(corpus.tokens), LOOK))
    return bool((corpus.tokens.take(places) == words.role("separator")).any())


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
