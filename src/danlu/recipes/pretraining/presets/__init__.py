"""Recipes: how the papers trained their models, as data, and one of our own; scaled to the model and text at hand.

Shares of the work (warm-up, the end of the decay, shorter rows, growing batches) stay what they were in the paper.
Rates are the paper's for its own widths; below the least of them a rate grows as 1 / width (Yang et al. 2022), except
where steps are relative to the weights. Batches and lengths are the paper's at most; steps follow from the text.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import Field

from danlu.errors import DanluError, nearest
from danlu.models.families import Family
from danlu.settings import Data, Settings, merge, parse_yaml

PAPER, MODERN = "paper", "modern"


class Source(Settings):
    """What is known, and where it stands."""

    what: str
    where: str


class Both(Settings):
    en: str
    zh: str


class Preset(Settings):
    """A file of this folder.

    rate: by the width of the paper's models, or one for all. batch: tokens a step. steps: of the paper's run. first:
    the first batch, as a share of the full one. shorter: row length as a share of the full one -> share of the work.
    settings: of `danlu pretrain`, as they are. unlike: where ours differs from the paper.
    """

    families: tuple[str, ...]
    en: str
    zh: str
    sources: tuple[Source, ...]
    unlike: Both | None = None
    rate: float | dict[int, float] | None = None
    batch: int | None = None
    length: int | None = None
    steps: int | None = None
    first: float | None = Field(None, gt=0, lt=1)
    shorter: dict[float, float] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def optimizer(self) -> str:
        return str(self.settings["train"]["optimizer"])

    def under(self, given: Data, fresh: bool) -> Data:
        """What was given, over what the recipe says; a model that has learnt already keeps its shape."""
        own = {name: group for name, group in self.settings.items() if fresh or name != "model"}
        if "objective" in given:
            own.pop("objective", None)
        return merge(own, given)

    def rate_at(self, width: int) -> float | None:
        """The learning rate for a model of this width."""
        if not isinstance(self.rate, Mapping):
            return self.rate
        least = min(self.rate)
        if width < least:
            return self.rate[least] * least / width
        return self.rate[max(each for each in self.rate if each <= width)]


@cache
def presets() -> Mapping[str, Preset]:
    """Every recipe by name."""
    found = sorted(file.name for file in files(__name__).iterdir() if file.name.endswith(".yaml"))
    texts = {name.removesuffix(".yaml"): files(__name__).joinpath(name).read_text(encoding="utf8") for name in found}
    return {name: Preset.model_validate(parse_yaml(text)) for name, text in texts.items()}


def find_preset(name: str, family: Family) -> tuple[str, Preset]:
    """A recipe that trains this family, and its name; `paper` is the family's own. E1508 where there is none."""
    fitting = {each: preset for each, preset in presets().items() if family.name in preset.families}
    if name == PAPER:
        own = [each for each in fitting if each != MODERN]
        name = family.name if family.name in own else own[0] if own else name
    if name not in fitting:
        possible = [PAPER, *fitting] if len(fitting) > 1 else list(fitting)
        raise DanluError("E1508", found=name, name=family.name, possible=possible, nearest=nearest(name, possible))
    return name, fitting[name]
