"""What `danlu compress` can be told."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from danlu.compress.factorize import Factorize
from danlu.compress.prune import METHODS, Prune
from danlu.compress.quantize import Quantize
from danlu.errors import Both
from danlu.recipes.runs.call import Common
from danlu.settings import Settings
from danlu.train.distill import Distil

Step = Annotated[Prune | Distil | Factorize | Quantize, Field(discriminator="kind")]
UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _bytes(value: Any) -> Any:
    """40MB."""
    found = re.fullmatch(r"\s*([\d.]+)\s*([a-z]*)\s*", str(value).lower())
    if value is None or isinstance(value, (int, float)) or not found:
        return value
    if (found[2] or "b") not in UNITS:
        raise ValueError(Both("a size such as 40MB", "形如 40MB 的大小"))
    return round(float(found[1]) * UNITS[found[2] or "b"])


def _share(value: Any) -> Any:
    """1%."""
    return float(value.rstrip("% ")) / 100 if isinstance(value, str) and value.strip().endswith("%") else value


def _seconds(value: Any) -> Any:
    """20ms."""
    if isinstance(value, str) and (found := re.fullmatch(r"\s*([\d.]+)\s*(ms|s|us)\s*", value)):
        return float(found[1]) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[found[2]]
    return value


def _prune(value: Any) -> Any:
    """units, units:0.5, layers:4, 2:4."""
    if not isinstance(value, str):
        return value
    part, _, strength = value.partition(":")
    if part.isdigit():
        return {"part": "weights", "pattern": value}
    named = part in METHODS["weights"]
    found: dict[str, Any] = {"part": "weights", "method": part} if named else {"part": part}
    if strength:
        found["share" if "." in strength else "keep"] = strength
    return found


def _factorize(value: Any) -> Any:
    """0.5, or a method."""
    if isinstance(value, (int, float)):
        return {"keep": value}
    if isinstance(value, str):
        return {"keep": value} if re.fullmatch(r"[\d.]+", value) else {"method": value}
    return value


def _distil(value: Any) -> Any:
    """How many epochs, or just yes."""
    if isinstance(value, bool) or value in ("yes", "true", ""):
        return {}
    if isinstance(value, (int, float)) or (isinstance(value, str) and re.fullmatch(r"[\d.]+", value)):
        return {"train": {"epochs": value}}
    return value


def _quantize(value: Any) -> Any:
    """int8, int4, gptq-int4 ..."""
    return Quantize.short(value) if isinstance(value, str) else value


class CalibrationSettings(Settings):
    """rows: to calibrate with. bf16: the model's products run in it meanwhile, which is faster where the processor has
    them."""

    rows: int = Field(128, ge=1)
    bf16: bool = False


class MeasureSettings(Settings):
    """rows: looked at of each part, at most (of a test all are). batch, length: of the rows that are timed; None: what
    the model was made for, 128 at most. threads: None: one, and all. seconds: of timing a model. memory: whether a
    process of its own finds out what each model takes."""

    rows: int = Field(2000, ge=16)
    batch: int = Field(1, ge=1)
    length: int | None = Field(None, ge=1)
    threads: int | None = Field(None, ge=1)
    seconds: float = Field(1.0, gt=0)
    memory: bool = True


class SearchSettings(Settings):
    """Of a budget. trials: chains that are tried. heal: epochs of distilling that the best of them get where they are
    not good enough without; healed: how many of them."""

    trials: int = Field(24, ge=1)
    heal: float = Field(1.0, ge=0)
    healed: int = Field(3, ge=0)


class Compress(Common):
    """`danlu compress START [DATA] [RECIPE.yaml]`: from a model to a smaller, faster one.

    prune, distil, factorize, quantize: one of each at most, in this order; or steps: any chain. max_size, max_drop,
    max_latency: a budget, for which chains are searched: bytes of the weights file, the share of quality that may be
    lost, seconds for a batch (`measure`). data: what the model learnt from, where not given. task: of a model that
    has learnt several.
    """

    verb: str = Field("compress", pattern="^compress$")
    start: str
    data: dict[str, Any] = Field(default_factory=dict)
    task: str | None = None
    prune: Annotated[Prune | None, BeforeValidator(_prune)] = None
    distil: Annotated[Distil | None, BeforeValidator(_distil)] = None
    factorize: Annotated[Factorize | None, BeforeValidator(_factorize)] = None
    quantize: Annotated[Quantize | None, BeforeValidator(_quantize)] = None
    steps: tuple[Step, ...] = ()
    max_size: Annotated[int | None, BeforeValidator(_bytes)] = Field(None, gt=0)
    max_drop: Annotated[float | None, BeforeValidator(_share)] = Field(None, ge=0, lt=1)
    max_latency: Annotated[float | None, BeforeValidator(_seconds)] = Field(None, gt=0)
    calibration: CalibrationSettings = CalibrationSettings()
    measure: MeasureSettings = MeasureSettings()
    search: SearchSettings = SearchSettings()

    @property
    def chain(self) -> tuple[Step, ...]:
        """The steps, in order."""
        own = (self.prune, self.distil, self.factorize, self.quantize)
        return self.steps + tuple(step for step in own if step is not None)

    @property
    def budget(self) -> bool:
        return any(each is not None for each in (self.max_size, self.max_drop, self.max_latency))
