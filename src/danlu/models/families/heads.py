"""Published classes with a head for a task: what each is called, and what it calls its parts.

A class that is not in the table has no published reader: such a model is kept under our own names, and says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

from danlu.errors import DanluError
from danlu.models.build import ModelConfig
from danlu.models.classifier import AnswerConfig, ClassifierConfig, Form, Place, Problem
from danlu.models.families.family import Family, Hf
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Stored, Table
from danlu.nn.initialize import InitialConfig, Scheme
from danlu.settings import Settings

C = TypeVar("C", bound=Settings)

TOWERS = ("tower.", "encoder.", "decoder.")
UNNAMED = "—"  # stands where a file shall be searched for nothing
PROBLEMS: Mapping[Problem, str] = {
    "single": "single_label_classification", "several": "multi_label_classification", "number": "regression",
}  # fmt: skip
HEAD_NAMES: Mapping[Form, str] = {
    "row": "classify",
    "token": "tag",
    "span": "span",
    "choice": "choose",
    "vector": "retrieve",
}


@dataclass(frozen=True)
class Published:
    """architecture: the class. names: our parts of a head -> theirs. inside: what they put the tower into, where that
    differs from the class that is pretrained. decodes: whether an encoder–decoder's decoder takes part."""

    architecture: str
    names: Mapping[str, str] = field(default_factory=dict)
    at: Place = "first"
    bias: bool = True
    inside: str | None = None
    decodes: bool = True

    @property
    def dense(self) -> bool:
        return "dense" in self.names


def _bert(stem: str) -> dict[Form, Published]:
    pooled = {"dense": "bert.pooler.dense", "output": "classifier"}
    return {
        "row": Published(f"{stem}ForSequenceClassification", pooled),
        "token": Published(f"{stem}ForTokenClassification", {"output": "classifier"}),
        "span": Published(f"{stem}ForQuestionAnswering", {"output": "qa_outputs"}),
        "choice": Published(f"{stem}ForMultipleChoice", pooled),
        "vector": Published(f"{stem}Model", at="mean"),
    }


def _roberta(stem: str) -> dict[Form, Published]:
    dense = {"dense": "classifier.dense", "output": "classifier.out_proj"}
    pooled = {"dense": "roberta.pooler.dense", "output": "classifier"}
    return _bert(stem) | {
        "row": Published(f"{stem}ForSequenceClassification", dense),
        "choice": Published(f"{stem}ForMultipleChoice", pooled),
    }


def _decoder(stem: str, tags: str | None = "score", inside: str | None = None) -> dict[Form, Published]:
    """tags: what the head of the class for tagging is called, where there is one. inside: of the class for spans."""
    found: dict[Form, Published] = {
        "row": Published(f"{stem}ForSequenceClassification", {"output": "score"}, "last", bias=False),
        "span": Published(f"{stem}ForQuestionAnswering", {"output": "qa_outputs"}, inside=inside),
        "vector": Published(f"{stem}Model", at="mean"),
    }
    return found | ({"token": Published(f"{stem}ForTokenClassification", {"output": tags})} if tags else {})


def _t5(stem: str) -> dict[Form, Published]:
    dense = {"dense": "classification_head.dense", "output": "classification_head.out_proj"}
    inside = "transformer."
    return {
        "row": Published(f"{stem}ForSequenceClassification", dense, "last", inside=inside),
        "token": Published(f"{stem}ForTokenClassification", {"output": "classifier"}, inside=inside, decodes=False),
        "span": Published(f"{stem}ForQuestionAnswering", {"output": "qa_outputs"}),
        "vector": Published(f"{stem}EncoderModel", at="mean", decodes=False),
    }


def _bart(stem: str) -> dict[Form, Published]:
    dense = {"dense": "classification_head.dense", "output": "classification_head.out_proj"}
    return {
        "row": Published(f"{stem}ForSequenceClassification", dense, "last"),
        "span": Published(f"{stem}ForQuestionAnswering", {"output": "qa_outputs"}),
    }


def _electra() -> dict[Form, Published]:
    """Its class for rows has a GELU where ours has tanh, and stays ours."""
    return {
        "token": Published("ElectraForTokenClassification", {"output": "classifier"}),
        "span": Published("ElectraForQuestionAnswering", {"output": "qa_outputs"}),
        "vector": Published("ElectraModel", at="mean"),
    }


HEADS: Mapping[str, Mapping[Form, Published]] = {
    "bert": _bert("Bert"), "electra": _electra(), "roberta": _roberta("Roberta"), "xlm-roberta": _roberta("XLMRoberta"),
    "gpt2": _decoder("GPT2", tags="classifier"), "gpt3": _decoder("GPT2", tags="classifier"),
    "opt": _decoder("OPT", tags=None), "llama": _decoder("Llama", inside="transformer."),
    "mistral": _decoder("Mistral"), "qwen2": _decoder("Qwen2", inside="transformer."),
    "qwen3": _decoder("Qwen3", inside="transformer."),
    "t5": _t5("T5"), "mt5": _t5("MT5"), "bart": _bart("Bart"), "mbart": _bart("MBart"),
}  # fmt: skip
# What a family without a published class for a form does.
USUAL: Mapping[str, Mapping[str, Any]] = {
    "masked": {"at": "first", "dense": True}, "causal": {"at": "last", "bias": False},
    "sequence_to_sequence": {"at": "mean"},
}  # fmt: skip


def answer_config(family: Family, form: Form, problem: Problem, labels: tuple[str, ...], **more: Any) -> AnswerConfig:
    """A head as the family's published class for the form has it."""
    published = HEADS.get(family.name, {}).get(form)
    shape = USUAL[family.kind]
    if published is not None:
        shape = {"at": published.at, "dense": published.dense, "bias": published.bias}
    elif form in ("token", "span", "vector"):
        shape = {"at": "mean"}
    return AnswerConfig(form=form, problem=problem, labels=labels, **{**shape, **more})


def decodes(family: Family, form: Form) -> bool:
    """Whether an encoder–decoder's decoder reads along for this form."""
    published = HEADS.get(family.name, {}).get(form)
    return published.decodes if published else False


def read_model(family: Family, hf: Hf, where: object, record: Mapping[str, Any]) -> ModelConfig:
    """The config of a published folder: the tower's and, where its class has one, a head's.

    record: our own config as danlu.json keeps it, which knows a head's name, and what no config.json says.
    """
    own = record.get("config") or {}
    base = _begun(family.read(hf, where), own.get("base", own))
    assert not isinstance(base, ClassifierConfig)
    if own.get("kind") == "classifier":
        return ClassifierConfig.model_validate(own | {"base": base})
    for form, published in HEADS.get(family.name, {}).items():
        if published.names and published.architecture in (hf.get("architectures") or ()):
            return _read_head(family, base, form, published, hf)
    return base


def _begun(config: C, own: Any) -> C:
    """The config with the scheme by which its weights were drawn."""
    if not isinstance(own, Mapping):
        return config
    found: dict[str, Any] = {
        name: _begun(part, own.get(name)) for name, part in config if isinstance(part, LanguageModelConfig)
    }
    initial, told = getattr(config, "initial", None), own.get("initial")
    if isinstance(initial, InitialConfig) and isinstance(told, Mapping) and told.get("scheme") in get_args(Scheme):
        found["initial"] = initial.model_copy(update={"scheme": told["scheme"]})
    return config.model_copy(update=found)


def _read_head(family: Family, base: Any, form: Form, published: Published, hf: Hf) -> ClassifierConfig:
    names = {int(number): str(label) for number, label in (hf.get("id2label") or {}).items()}
    count = len(names) or hf.get("num_labels") or 2
    labels = tuple(names.get(number, f"LABEL_{number}") for number in range(count))
    kind = hf.get("problem_type") or (PROBLEMS["number"] if count == 1 else PROBLEMS["single"])
    problem: Problem = next((ours for ours, theirs in PROBLEMS.items() if theirs == kind), "single")
    if form != "row":
        problem = "single"
    labels = labels if form in ("row", "token") else ()
    head = answer_config(family, form, problem, labels, dropout=_dropout(hf))
    return ClassifierConfig(base=base, heads={HEAD_NAMES[form]: head}, decodes=published.decodes)


def _dropout(hf: Hf) -> float:
    for name in ("classifier_dropout", "hidden_dropout_prob", "dropout_rate"):
        if hf.get(name) is not None:
            return float(hf[name])
    return 0.1


def published_class(family: Family, config: ClassifierConfig) -> tuple[str, Published]:
    """The name of the only head, and the class that computes it. E1409 where there is none."""
    if len(config.heads) != 1:
        raise DanluError("E1409", found=list(config.heads), family=family.name)
    ((name, head),) = config.heads.items()
    published = HEADS.get(family.name, {}).get(head.form)
    shape = (head.at, head.dense, head.bias, config.decodes)
    row = head.form in ("row", "choice", "vector")
    if (
        published is None
        or shape[1:] != (published.dense, published.bias, published.decodes)
        or (row and head.form != "vector" and head.at != published.at)
    ):
        raise DanluError("E1409", found=f"{name}: {head.form} {shape}", family=family.name)
    return name, published


def write_model(family: Family, config: ModelConfig) -> dict[str, Any]:
    """config.json as the published class reads it. E1409 where there is none."""
    if not isinstance(config, ClassifierConfig):
        return family.write(config)
    name, published = published_class(family, config)
    hf, head = family.write(config.base), config.heads[name]
    if hf["model_type"].startswith("danlu"):
        raise DanluError("E1409", found=hf["model_type"], family=family.name)
    hf |= {"architectures": [published.architecture]}
    if head.form != "vector":
        hf |= {"classifier_dropout": head.dropout}
    if head.labels:
        hf |= {
            "id2label": {str(number): label for number, label in enumerate(head.labels)},
            "label2id": {label: number for number, label in enumerate(head.labels)},
        }
    if head.form == "row":
        hf |= {"problem_type": PROBLEMS[head.problem]}
    return hf


def table(family: Family, config: ModelConfig, start: bool = False, outputs: bool = True) -> Table:
    """The published names of a model's tensors. E1409 where no published class has its heads.

    start: names of any class of the family, to begin from; its heads may be missing, or others. outputs: whether last
    layers shall be looked for, too.
    """
    if not isinstance(config, ClassifierConfig):
        return family.table(config)
    base = family.table(config.base)
    name, published = _class_to_start(family, config) if start else published_class(family, config)
    names = {
        ours: theirs
        for ours, theirs in base.names.items()
        if ours.startswith(TOWERS) and (config.decodes or not ours.startswith("decoder."))
    }
    prefix = base.prefix
    if published.inside is not None and not start:
        prefix = published.inside
        names = {ours: _moved(theirs, base.prefix, prefix) for ours, theirs in names.items()}
    parts = {f"heads.{name}.{ours}": theirs for ours, theirs in published.names.items()}
    if start and not outputs:
        parts = {ours: UNNAMED if ours.endswith("output") else theirs for ours, theirs in parts.items()}
    others = {f"heads.{each}": UNNAMED for each in config.heads} if start else {}
    return replace(
        base,
        names=names | parts | others,
        prefix=prefix,
        aliases={
            _name(alias, base.prefix, prefix): _name(real, base.prefix, prefix)
            for alias, real in base.aliases.items()
            if _is_tower(real, base)
        },
        copies=(),
        optional=("heads.",) if start or published.dense else (),
        spare=_spare(family, base, config) if start else base.spare,
        zeros={},
        fallbacks={},
    )  # fmt: skip


def _class_to_start(family: Family, config: ClassifierConfig) -> tuple[str, Published]:
    try:
        return published_class(family, config)
    except DanluError:
        return next(iter(config.heads)), Published("")


def _is_tower(theirs: str, base: Table) -> bool:
    stored = [
        each.name if isinstance(each, Stored) else each for ours, each in base.names.items() if ours.startswith(TOWERS)
    ]
    return theirs.removesuffix(".weight").removesuffix(".bias") in stored


def _spare(family: Family, base: Table, config: ClassifierConfig) -> tuple[str, ...]:
    """Their tensors that a classifier has no place for."""
    heads = [str(each) for ours, each in base.names.items() if not ours.startswith(TOWERS)]
    heads += [*base.zeros, *(alias for alias in base.aliases)]
    heads += [each for published in HEADS.get(family.name, {}).values() for each in published.names.values()]
    short = {re.escape(name.removeprefix(base.prefix)) for name in heads}
    left = () if config.decodes else (r"decoder\..*",)
    return (*base.spare, *left, *(rf"{name}(\..*)?" for name in sorted(short)))


def _moved(theirs: str | Stored, old: str, new: str) -> str | Stored:
    if isinstance(theirs, Stored):
        return replace(theirs, name=_name(theirs.name, old, new))
    return _name(theirs, old, new)


def _name(name: str, old: str, new: str) -> str:
    return name if old == new else new + name.removeprefix(old)
