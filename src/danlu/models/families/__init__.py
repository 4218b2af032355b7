"""The families there are, by name; `fresh("gpt2-mini")` for a new model of one."""

import inspect
from typing import Any

from pydantic import ValidationError

from danlu.errors import DanluError, nearest
from danlu.models.build import ModelConfig
from danlu.models.families.align import ALIGN
from danlu.models.families.bart import BART, MBART
from danlu.models.families.bert import BERT, ROBERTA, XLM_ROBERTA
from danlu.models.families.clip import CHINESE_CLIP, CLIP
from danlu.models.families.electra import ELECTRA
from danlu.models.families.family import Family as Family
from danlu.models.families.family import Hf
from danlu.models.families.gpt import GPT2, GPT3
from danlu.models.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from danlu.models.families.llava import LLAVA
from danlu.models.families.opt import OPT
from danlu.models.families.palm import PALM
from danlu.models.families.seeing import GPT3_VISION, PALM_VISION
from danlu.models.families.siglip import SIGLIP
from danlu.models.families.t5 import MT5, T5
from danlu.models.families.xlm import XLM

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        BERT, ROBERTA, ELECTRA, XLM, XLM_ROBERTA, GPT2, GPT3, OPT, PALM, LLAMA, MISTRAL, QWEN2, QWEN3, T5, MT5, BART,
        MBART, CLIP, CHINESE_CLIP, SIGLIP, ALIGN, GPT3_VISION, PALM_VISION, LLAVA,
    )
}  # fmt: skip
ALIASES = {"gpt": "gpt2", "xlmr": "xlm-roberta", "xlm-r": "xlm-roberta", "qwen": "qwen3"}
MODEL_TYPES = {kind: family for family in FAMILIES.values() for kind in family.model_types}


def family_of(hf: Hf, where: object = "config.json") -> Family:
    """The family that reads a published config.json. E1410 where none does."""
    kind = hf.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise DanluError(
            "E1410", where=where, found=kind, possible=list(MODEL_TYPES), nearest=nearest(str(kind), MODEL_TYPES)
        )  # fmt: skip
    return MODEL_TYPES[kind]


def split_name(name: str) -> tuple[Family, str] | None:
    """("gpt2", "mini") of "gpt2-mini"; None where the name begins with no family's."""
    lowered = name.lower()
    for known in sorted((*FAMILIES, *ALIASES), key=len, reverse=True):
        if lowered == known or lowered.startswith(known + "-"):
            return FAMILIES[ALIASES.get(known, known)], lowered[len(known) + 1 :]
    return None


def fresh(name: str, vocabulary: int | None = None, **changes: Any) -> tuple[Family, ModelConfig]:
    """The family and config of a named size, with changes in our words: fresh("gpt2-mini", 8000, width=192).

    E1401: no such family or size, with the nearest; E1101, E1102: a change it does not know, or of a wrong kind.
    """
    found = split_name(name)
    if found is None or found[1] not in found[0].sizes:
        known = [f"{family.name}-{size}" for family in FAMILIES.values() for size in family.sizes]
        known += [f"{alias}-{size}" for alias, family in ALIASES.items() for size in FAMILIES[family].sizes]
        possible = [f"{found[0].name}-{size}" for size in found[0].sizes] if found else list(FAMILIES)
        raise DanluError("E1401", found=name, possible=possible, nearest=nearest(name.lower(), known))
    family, size = found
    possible_words = list(inspect.signature(family.make).parameters)
    for word in changes:
        if word not in possible_words:
            near = nearest(word, possible_words)
            raise DanluError("E1101", where=name, name=word, possible=possible_words, nearest=near)
    words = {**family.words, **family.sizes[size], **changes, **({"vocabulary": vocabulary} if vocabulary else {})}
    try:
        return family, family.make(**words)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        at = ".".join(map(str, detail["loc"])) or "width"
        raise DanluError("E1102", where=name, name=at, found=detail["input"], possible=detail["msg"]) from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise DanluError("E1102", where=name, name=", ".join(changes), found=changes, possible=str(error)) from error
