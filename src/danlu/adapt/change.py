"""Changes: what trains of a model, and what is added to it."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from danlu.adapt.changes import (
    KINDS,
    NAME,
    Addition,
    BitFit,
    BottleneckAdapter,
    Dora,
    Full,
    Head,
    Ia3,
    Lora,
    Part,
    PrefixTuning,
    PromptTuning,
    Top,
)
from danlu.adapt.targets import adapters, named
from danlu.errors import DanluError, nearest
from danlu.nn.adapters import Prefixes, Prompts

Change = Annotated[
    Full | Head | Top | BitFit | Lora | Dora | Ia3 | BottleneckAdapter | PrefixTuning | PromptTuning,
    Field(discriminator="kind"),
]


def _short(data: Any) -> Any:
    """`lora` for {kind: lora}; settings without a kind are LoRA's."""
    if isinstance(data, str):
        return {"kind": data}
    return {"kind": "lora"} | data if isinstance(data, dict) else data


Adapt = Annotated[Change, BeforeValidator(_short)]  # as people write it
_CHANGE: TypeAdapter[Part | Addition] = TypeAdapter(Adapt)


def read_change(data: Any, where: object = None) -> Part | Addition:
    """The change that plain data describes, or a kind's name alone. E2009 where it describes none."""
    try:
        return _CHANGE.validate_python(data)
    except ValidationError as error:
        kind = data.get("kind") if isinstance(data, dict) else data
        near = None if kind in KINDS else nearest(str(kind), KINDS)
        found = kind if near or kind not in KINDS else error.errors(include_url=False)[0]["msg"]
        raise DanluError("E2009", where=where, found=found, possible=list(KINDS), nearest=near) from error


def names(model: nn.Module) -> list[str]:
    """The adapters a model has, in the order they came."""
    return list(dict.fromkeys(name for _, place in adapters(model) for name in place.adapters))


def switch(model: nn.Module, name: str | None) -> None:
    """Let one adapter work, or none: the model is then what it was. E2012 where there is none of that name."""
    if name is not None and name not in (there := names(model)):
        raise DanluError("E2012", found=name, possible=there, nearest=nearest(name, there))
    for _, place in adapters(model):
        place.active = name


def own_tensors(model: nn.Module, change: Addition, name: str = NAME) -> dict[str, Tensor]:
    """What belongs to an adapter, by its name in the model without `adapters.<name>`: what was added, and `also`."""
    also = named(change.also, model)
    mark = f".adapters.{name}."
    return {
        each.replace(mark, "."): parameter
        for each, parameter in model.named_parameters()
        if mark in each or (".adapters." not in each and also(each))
    }


def load_tensors(
    model: nn.Module, change: Addition, tensors: Mapping[str, Tensor], name: str = NAME, where: object = None
) -> None:
    """Give an adapter what `own_tensors` gave. E2005 where names or shapes are another model's."""
    own = own_tensors(model, change, name)
    missing, strange = own.keys() - tensors.keys(), tensors.keys() - own.keys()
    if missing or strange:
        raise DanluError("E2005", where=where, found=sorted(strange)[:3] or "—", possible=sorted(missing)[:3] or "—")
    for each, parameter in own.items():
        if parameter.shape != tensors[each].shape:
            found, possible = f"{each} {tuple(tensors[each].shape)}", tuple(parameter.shape)
            raise DanluError("E2005", where=where, found=found, possible=possible)
        parameter.data.copy_(tensors[each])


def room(model: nn.Module) -> int | None:
    """The most tokens of text a row may have, after what prefixes and prompts take; None: any number."""
    config: Any = model.config
    return None if config.length is None else int(config.length) - virtual_tokens(model)


def virtual_tokens(model: nn.Module) -> int:
    """How many of a model's positions prefixes and prompts take from the text."""
    places = [place for _, place in adapters(model) if isinstance(place, (Prefixes, Prompts))]
    return max((place.count for place in places), default=0)
