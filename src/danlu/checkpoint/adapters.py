"""Adapter folders: what was learnt beside a model, and where that model is.

adapter_model.safetensors and, where PEFT has such an adapter, its adapter_config.json; danlu.json says what changed.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from danlu.adapt import NAME, Addition, load_tensors, own_tensors, peft, read_change, reading
from danlu.checkpoint.headers import read_header, write_tensors
from danlu.checkpoint.places import ADAPTER, ADAPTER_CONFIG, INSTALLABLE, find_model
from danlu.checkpoint.plain import read_table
from danlu.checkpoint.weights import Weights
from danlu.errors import DanluError
from danlu.files import replace_json, write_file
from danlu.models.build import ModelConfig
from danlu.models.classifier import ClassifierConfig, Form
from danlu.models.families import Family
from danlu.models.families.heads import HEAD_NAMES, HEADS, answer_config, decodes
from danlu.models.sequence_to_sequence import SequenceToSequenceConfig
from danlu.models.weights import Table
from danlu.nn.fingerprint import fingerprint
from danlu.nn.quantized import QuantizedLinear

TOWERS = ("tower.", "encoder.", "decoder.")
TASKS: dict[Form, str] = {
    "row": "SEQ_CLS",
    "token": "TOKEN_CLS",
    "span": "QUESTION_ANS",
    "vector": "FEATURE_EXTRACTION",
}
MISSING = ("E1420", "E1426", "E1428")


@dataclass(frozen=True)
class Below:
    """The model an adapter was trained on: how it was called, where it was, seen from the adapter too, and its towers'
    fingerprint."""

    name: str
    folder: str = ""
    relative: str = ""
    fingerprint: str = ""

    @property
    def published(self) -> str:
        """Where other programs find it: a hub name, or a folder."""
        local = self.name in INSTALLABLE or Path(self.name).exists()
        return self.folder if local or not self.name else self.name

    def find(self, adapter: Path, given: str | Path | None = None) -> str | Path:
        """Where it is now. E2006 where it is not."""
        here = [Path(self.folder)] * bool(self.folder) + [adapter / self.relative] * bool(self.relative)
        own: list[str | Path] = [*(place for place in here if place.is_dir()), self.name]
        places = own if given is None else [given]
        for place in places:
            try:
                if place and find_model(place):
                    return place
            except DanluError as error:
                if error.code not in MISSING:
                    raise
        raise DanluError("E2006", where=adapter, found=[str(place) for place in places if place])

    def check(self, model: nn.Module, where: Path) -> None:
        """E2005 where the model is another one."""
        found = towers_of(model)
        if self.fingerprint and found and found != self.fingerprint:
            raise DanluError("E2005", where=where, found=f"{self.name}: {found}", possible=self.fingerprint)


@dataclass(frozen=True)
class Adapted:
    """A change that a model carries, what it stands on, and the name it goes by there."""

    change: Addition
    below: Below
    name: str = NAME

    def plain(self, folder: Path) -> dict[str, Any]:
        """As danlu.json in a folder has it."""
        try:
            relative = os.path.relpath(self.below.folder, folder) if self.below.folder else ""
        except ValueError:  # another drive
            relative = ""
        return {"changes": [self.change.model_dump(mode="json")], "base": asdict(self.below) | {"relative": relative}}


def towers_of(model: nn.Module) -> str:
    """The fingerprint of a model's towers, without heads and adapters; empty where weights are kept as codes."""
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        return ""
    own = {
        name: each for name, each in model.named_parameters() if name.startswith(TOWERS) and ".adapters." not in name
    }
    return fingerprint({name.replace(".base.", "."): each for name, each in own.items()})


def towers_in(config: ModelConfig) -> dict[str, Any]:
    """What of a config an adapter of the towers depends on."""
    base = config.base if isinstance(config, ClassifierConfig) else config
    return {name: getattr(base, name, None) for name in ("embedding", "transformer", "encoder", "decoder")}


def write_adapter(
    folder: Path, model: nn.Module, adapted: Adapted, table: Table | None, task: str | None
) -> tuple[list[str], str | None]:
    """The files' names, and why PEFT cannot read them, where it cannot. table: published names, where there are."""
    files: peft.PeftFiles | None = None
    reason: str | None = "no published class computes the model below"
    if table is not None:
        try:
            files, reason = peft.write(model, adapted.change, table, adapted.below.published, task, adapted.name), None
        except DanluError as error:
            if error.code != "E2013":
                raise
            reason = error.render("en").partition("\n")[0]
    tensors = files.tensors if files else own_tensors(model, adapted.change, adapted.name)
    write_file(folder / ADAPTER, lambda file: write_tensors(file, tensors))
    if files:
        replace_json(folder / ADAPTER_CONFIG, files.config)
    return [ADAPTER, ADAPTER_CONFIG] if files else [ADAPTER], reason


def task_of(config: ModelConfig) -> str | None:
    """PEFT's word for what a model is for."""
    if isinstance(config, ClassifierConfig):
        forms = {head.form for head in config.heads.values()}
        return TASKS.get(forms.pop()) if len(forms) == 1 else None
    if isinstance(config, SequenceToSequenceConfig):
        return "SEQ_2_SEQ_LM"
    return "CAUSAL_LM" if config.causal else None


def read_adapter(folder: Path, record: Mapping[str, Any]) -> tuple[Addition | None, Below]:
    """What a folder says of its change, and of the model below it; PEFT's file alone says only the latter. E1421, E2009
    where danlu.json makes no sense."""
    if record.get("changes"):
        change = read_change(record["changes"][0], folder)
        try:
            below = Below(**{name: str(text) for name, text in record["base"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise DanluError("E1421", where=folder, found=f"base: {error}") from error
        if not isinstance(change, Addition):
            raise DanluError("E1421", where=folder, found=record["changes"])
        return change, below
    if not (folder / ADAPTER_CONFIG).is_file():
        raise DanluError("E2014", where=folder)
    name = read_table(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return None, Below(str(name or ""))


def published_heads(
    folder: Path, family: Family, record: Mapping[str, Any]
) -> Callable[[ModelConfig], ModelConfig] | None:
    """From a tower's config to one with the head that PEFT's file brings along, its labels by number; None where we
    wrote the folder, or where it brings none."""
    if record.get("config") or not (folder / ADAPTER_CONFIG).is_file():
        return None
    forms: dict[Any, Form] = {word: form for form, word in TASKS.items()}
    form = forms.get(read_table(folder / ADAPTER_CONFIG).get("task_type"))
    published = HEADS.get(family.name, {}).get(form) if form else None
    if form is None or published is None or "output" not in published.names:
        return None
    ending = f".{published.names['output']}.weight"
    sizes = [entry.shape[0] for name, entry in read_header(folder / ADAPTER).items() if name.endswith(ending)]
    if not sizes:
        return None
    head = answer_config(family, form, "single", tuple(f"LABEL_{number}" for number in range(sizes[0])))
    own = {HEAD_NAMES[form]: head}
    return lambda config: ClassifierConfig(base=config, heads=own, decodes=decodes(family, form))


def apply_adapter(folder: Path, model: nn.Module, known: Addition | None, table: Table, name: str = NAME) -> Addition:
    """Put the adapter of a folder on a model, under a name, and switch to it. known: the change, where we wrote the
    folder. E2005 where it is another model's."""
    tensors: Mapping[str, Tensor] = Weights({folder / ADAPTER: read_header(folder / ADAPTER)})
    change = known
    if (folder / ADAPTER_CONFIG).is_file():
        files = peft.PeftFiles(read_table(folder / ADAPTER_CONFIG), dict(tensors))
        change, tensors = reading.read(model, files, table, known, folder)
    assert change is not None
    training = model.training
    change.apply(model, name=name)
    model.train(training)
    load_tensors(model, change, tensors, name, folder)
    return change
