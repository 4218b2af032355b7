"""Everything that can be said about a corruption."""

from typing import Literal

from pydantic import Field, model_validator

from danlu.errors import Both
from danlu.settings import Settings

Kind = Literal["mask", "plain", "shift", "prefix", "middle", "spans", "infill", "mixture", "translation", "detect"]


class CorruptionSettings(Settings):
    """What is done to packed rows before a model sees them.

    kind: `mask` hides tokens (BERT), `plain` leaves them, `shift` asks for the next one (GPT), `prefix` for those after
    a beginning that is seen whole, `middle` for what was cut out, `spans` for stretches that sentinels stand for (T5),
    `infill` for the undamaged text (BART), `mixture` mixes denoisers (UL2), `translation` masks pairs of sentences
    (TLM), `detect` hides tokens for a generator to replace, and asks which were (ELECTRA). `auto`: spans where the
    tokenizer has sentinels, mask where it has a mask token, else shift.

    share: of the tokens that are corrupted; 15 %, of infill 30 %. mask, replace: what becomes of the chosen, the rest
    stays (Devlin et al. 2018, 3.1). unit: what is masked together. stretch: how many units in a row: one, geometric
    (SpanBERT), or n-grams of up to three (ALBERT). mean: tokens of a span. middle: share of texts that are cut, and
    suffix_first: of these, with the suffix before the prefix. permute, delete, rotate: BART's other noise: sentences
    shuffled, share of tokens left out, share of texts that begin elsewhere. pairs: rows of two texts and whether the
    second follows (BERT), or in which order they stand (ALBERT). sides: whether a translation's languages are segments.
    """

    kind: Literal["auto"] | Kind = "auto"
    share: float | None = Field(None, gt=0, le=1)
    mask: float = Field(0.8, ge=0, le=1)
    replace: float = Field(0.1, ge=0, le=1)
    unit: Literal["token", "word", "chinese"] = "token"
    stretch: Literal["single", "geometric", "ngram"] = "single"
    mean: float = Field(3.0, ge=1)
    middle: float = Field(0.5, ge=0, le=1)
    suffix_first: float = Field(0.5, ge=0, le=1)
    permute: bool = True
    delete: float = Field(0.0, ge=0, lt=1)
    rotate: float = Field(0.0, ge=0, le=1)
    pairs: Literal["none", "next", "order"] = "none"
    sides: bool = False

    @model_validator(mode="after")
    def _shares(self) -> "CorruptionSettings":
        if self.mask + self.replace > 1 + 1e-9:
            raise ValueError(Both("mask + replace of at most 1", "mask + replace 不超过 1"))
        return self
