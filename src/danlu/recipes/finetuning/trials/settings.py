"""What a search tries."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from danlu.errors import Both
from danlu.settings import Settings


class Range(Settings):
    """Numbers from low to high. log: evenly by their logarithm. whole: without fractions."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low > self.high or (self.log and self.low <= 0):
            raise ValueError(Both("low at most high, and above 0 with log", "low 不大于 high；log 时须大于 0"))
        return self


Choices = Annotated[tuple[Any, ...], Field(min_length=1)]


def _flat(value: Any) -> Any:
    """`search.space.train.lr=...` as one dotted name."""
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, part in value.items():
        if isinstance(part, Mapping) and not {"low", "high"} & part.keys():
            found |= {f"{name}.{inner}": each for inner, each in _flat(part).items()}
        else:
            found[str(name)] = part
    return found


class SearchSettings(Settings):
    """trials: how many. space: which settings, by dotted names, over a range or a list of choices; the usual ones where
    not given. prune: a trial that is behind the middle of the others is given up."""

    trials: int = Field(20, ge=2)
    space: Annotated[dict[str, Range | Choices], BeforeValidator(_flat)] = Field(default_factory=dict)
    prune: bool = True


def _number(value: Any) -> Any:
    """`search=20` says the trials alone, `--search` that there shall be a search."""
    if value is False:
        return None
    if value is True:
        return {}
    return {"trials": value} if isinstance(value, int) else value


Search = Annotated[SearchSettings | None, BeforeValidator(_number)]
