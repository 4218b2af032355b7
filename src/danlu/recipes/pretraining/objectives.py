"""Named objectives: a corruption and the losses it feeds, as data; and what can be combined.

danlu pretrain bert-mini text/ objective=mlm+nsp          each counts as much
objective: {mlm: 1.0, nsp: 0.5}                            or as said

Objectives of the same rows share a batch, and the weights are those of their losses. Objectives that need rows of
different kinds take turns, and the weights say how often.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BeforeValidator

from danlu.data.corruption.words import MARKERS
from danlu.data.turns import titled
from danlu.errors import DanluError, nearest
from danlu.models.families import Family
from danlu.settings import Data, merge

PLAIN, AUTO = "plain", "auto"


@dataclass(frozen=True)
class Named:
    """corruption: what it sets; losses: the targets it asks for, and what they count; kinds: families it fits; model:
    what a fresh model needs for it; markers: special tokens by role that a fresh tokenizer gets for it."""

    corruption: Data
    kinds: tuple[str, ...]
    en: str
    zh: str
    losses: Mapping[str, float] = field(default_factory=lambda: {"tokens": 1.0})
    model: Data = field(default_factory=dict)
    markers: tuple[str, ...] = ()


MASKED, CAUSAL, BOTH = ("masked",), ("causal",), ("sequence_to_sequence",)
DETECTOR = "detector"
OBJECTIVES: Mapping[str, Named] = {
    "mlm": Named({"kind": "mask"}, MASKED, "fill in hidden tokens (BERT)", "填补被遮盖的词元（BERT）"),
    "tlm": Named({"kind": "translation"}, MASKED, "the same on translations side by side (XLM)",
                 "在并列的译文上做同样的事（XLM）"),
    "nsp": Named({"pairs": "next"}, MASKED, "does the second text follow the first? (BERT)",
                 "第二段文本是否紧接第一段？（BERT）", {"pairs": 1.0}, {"pairs": True}),
    "sop": Named({"pairs": "order"}, MASKED, "are two texts in the right order? (ALBERT)",
                 "两段文本次序是否正确？（ALBERT）", {"pairs": 1.0}, {"pairs": True}),
    "rtd": Named({"kind": "detect", "mask": 1.0, "replace": 0.0}, (DETECTOR,), "which tokens were replaced? (ELECTRA)",
                 "哪些词元被替换过？（ELECTRA）", {"tokens": 1.0, "replaced": 50.0}, {"part": "both"}),
    "clm": Named({"kind": "shift"}, CAUSAL, "write the next token (GPT)", "写出下一个词元（GPT）"),
    "prefix": Named({"kind": "prefix"}, CAUSAL, "go on from a beginning that is seen whole", "从整段可见的开头续写"),
    "fim": Named({"kind": "middle"}, CAUSAL, "write what was cut out of the middle", "写出从中间挖去的内容",
                 markers=("before", "after", "between")),
    "span": Named({"kind": "spans"}, BOTH, "write what sentinels stand for (T5)", "写出哨兵所代表的片段（T5）"),
    "infill": Named({"kind": "infill"}, BOTH, "repair a damaged text (BART)", "修复受损的文本（BART）"),
    "ul2": Named({"kind": "mixture"}, BOTH, "a mixture of denoisers (UL2)", "多种去噪方式的混合（UL2）",
                 markers=("regular", "extreme", "sequential")),
}  # fmt: skip
OF_KIND = {named.corruption["kind"]: name for name, named in OBJECTIVES.items() if "kind" in named.corruption}


def _weights(value: Any) -> Any:
    """`mlm+nsp` means one of each."""
    names = value.split("+") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else None
    return value if names is None else {str(name).strip(): 1.0 for name in names if str(name).strip()}


Weights = Annotated[dict[str, float], BeforeValidator(_weights)]


@dataclass(frozen=True)
class Turn:
    """corruption: what it sets. losses: the name of targets -> the loss they are learnt by."""

    corruption: Data
    losses: Mapping[str, str]


@dataclass(frozen=True)
class Chosen:
    """What a choice of objectives comes to. corruption: what stands in the settings. turns: by name, one or several.
    weights, losses: by the names of targets."""

    names: Mapping[str, float]
    corruption: Data
    turns: Mapping[str, Turn]
    weights: Mapping[str, float]
    model: Data
    markers: tuple[str, ...]

    @property
    def losses(self) -> dict[str, str]:
        return {name: loss for turn in self.turns.values() for name, loss in turn.losses.items()}


def choose(asked: Mapping[str, float], kind: str, family: Family) -> Chosen:
    """The objectives asked for; those of a corruption's kind; or the family's own. A kind that was given stays.

    E1507 where one is unknown, does not fit the family, or cannot go with another.
    """
    names = {name: weight for name, weight in asked.items() if weight} or {OF_KIND.get(kind, family.objective): 1.0}
    kind_of_family = DETECTOR if family.objective == "rtd" else family.kind
    possible = [name for name, named in OBJECTIVES.items() if kind_of_family in named.kinds]
    for name in names:
        if name not in possible:
            raise DanluError("E1507", name=family.name, found=name, possible=possible, nearest=nearest(name, possible))
    several = [OBJECTIVES[name] for name in names]
    kinds = {each.corruption["kind"] for each in several if "kind" in each.corruption}
    pairs = {each.corruption["pairs"] for each in several if "pairs" in each.corruption}
    if len(pairs) > 1 or (pairs and not kinds <= {"mask"}) or (len(kinds) > 1 and kind != AUTO):
        raise DanluError("E1507", name=family.name, found=" + ".join(names), possible=[*possible, "mlm+nsp", "mlm+sop"])
    corruption, turns, weights = _turns(names) if len(kinds) > 1 else _together(names, kind)
    return Chosen(
        names, corruption, turns, weights, merge({}, *(each.model for each in several)),
        tuple(role for each in several for role in each.markers),
    )  # fmt: skip


def _together(names: Mapping[str, float], kind: str) -> tuple[Data, dict[str, Turn], dict[str, float]]:
    """Objectives that share their rows: one turn, whose losses are weighted."""
    several = [OBJECTIVES[name] for name in names]
    corruption = merge({"kind": PLAIN, "pairs": "none"}, *(each.corruption for each in several))
    if kind != AUTO:
        corruption["kind"] = kind
    weights = {loss: weight * own for name, weight in names.items() for loss, own in OBJECTIVES[name].losses.items()}
    return corruption, {"+".join(names): Turn(corruption, {name: name for name in weights})}, weights


def _turns(names: Mapping[str, float]) -> tuple[Data, dict[str, Turn], dict[str, float]]:
    """Objectives with rows of their own: each takes its turn as often as its weight says."""
    turns: dict[str, Turn] = {}
    weights: dict[str, float] = {}
    for name in names:
        own = OBJECTIVES[name].losses
        weights |= titled(name, own)
        losses = titled(name, {loss: loss for loss in own})
        turns[name] = Turn(merge({"pairs": "none"}, OBJECTIVES[name].corruption), losses)
    return {"kind": AUTO, "pairs": "none"}, turns, weights


def marker_tokens(roles: Iterable[str]) -> tuple[str, ...]:
    """What the special tokens of an objective are called in a fresh tokenizer."""
    return tuple(MARKERS[role][0] for role in roles)
