"""What the world knows of a published architecture: data, and two functions between its config.json and ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from danlu.errors import DanluError
from danlu.models.build import ModelConfig
from danlu.models.weights import Table
from danlu.nn.mlp import ActivationName
from danlu.text.patterns import Pattern

Hf = Mapping[str, Any]  # a published config.json
USUAL = {"masked": "mlm", "causal": "clm", "sequence_to_sequence": "span", "dual": "contrastive", "multimodal": "clm"}
Kind = Literal["masked", "causal", "sequence_to_sequence", "dual", "multimodal"]
Roles = tuple[str, ...]

# Published names of activations; the first of each is the one we write, unless the family has its own habit.
ACTIVATIONS: dict[str, ActivationName] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "relu": "relu",
    "silu": "silu", "swish": "silu", "quick_gelu": "quick_gelu",
}  # fmt: skip

# Sizes every family has beside its paper's own: seconds on two cores, and minutes. On little time no dropout pays.
TINY_TEXT: dict[str, Any] = {"vocabulary": 4096, "length": 128, "dropout": 0.0}
MINI_TEXT: dict[str, Any] = {"vocabulary": 8192, "length": 256, "dropout": 0.0}
TINY = TINY_TEXT | {"width": 128, "depth": 2, "heads": 2, "attention_dropout": 0.0}
MINI = MINI_TEXT | {"width": 256, "depth": 4, "heads": 4, "attention_dropout": 0.0}
SMALL: dict[str, Any] = {"width": 512, "depth": 6, "heads": 8, "length": 512, "attention_dropout": 0.0}
# Encoders with norms after the sum and a table of positions leave their first plateau hundreds of steps sooner so.
LOCAL: dict[str, Any] = {"initial": "local"}
DAMAGE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    IndexError,
)  # ValidationError is a ValueError


@dataclass(frozen=True)
class Family:
    """A published architecture, by its functions and tables.

    `make` builds a config from our words (width, depth, ...); `words` are the family's own arguments for it, `sizes`
    those of each size. `reader` and `writer` stand between config.json and our config; use `read` and `write`, which
    turn failures into numbered errors. `specials`: role -> token of a fresh tokenizer, in the order of their ids.
    `frame`: roles put before and after a text. `pattern`: how byte-level BPE cuts one. `start`: the role of the token a
    decoder begins with.
    """

    name: str
    kind: Kind
    model_types: tuple[str, ...]
    make: Callable[..., ModelConfig]
    reader: Callable[[Hf], ModelConfig]
    writer: Callable[[Any], dict[str, Any]]
    table: Callable[[Any], Table]
    sizes: Mapping[str, Mapping[str, Any]]
    tokenizer: Literal["wordpiece", "bpe", "unigram"]
    specials: Mapping[str, str]
    en: str
    zh: str
    words: Mapping[str, Any] = field(default_factory=dict)
    frame: tuple[Roles, Roles] = ((), ())
    pattern: Pattern = "gpt2"
    start: str | None = None
    objective: str = ""  # what it was first trained with, by our name; mlm or clm where not said
    z_weight: float = 0.0  # of the penalty on large logits it was trained with
    extra_tokens: tuple[str, ...] = field(default=())  # beyond the roles: T5's sentinels

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", self.objective or USUAL[self.kind])

    def read(self, hf: Hf, where: object = "config.json") -> ModelConfig:
        """E1407: a setting that we do not have; E1408: a setting is missing or makes no sense."""
        try:
            return self.reader(hf)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            name = ".".join(map(str, detail["loc"]))
            raise DanluError("E1408", where=where, name=name, found=detail["input"], possible=detail["msg"]) from error
        except DAMAGE as error:
            raise DanluError("E1408", where=where, name=str(error)) from error

    def write(self, config: ModelConfig) -> dict[str, Any]:
        """config.json as the published class reads it. E1409 where that class cannot express the config."""
        try:
            hf = self.writer(config)
            back = self.reader(hf)
        except (*DAMAGE, DanluError) as error:
            raise DanluError("E1409", found=error, family=self.name) from error
        if lost := _differences(config.model_dump(), back.model_dump()):
            raise DanluError("E1409", found=lost, family=self.name)
        return hf


def activation(name: str) -> ActivationName:
    if name not in ACTIVATIONS:
        raise DanluError("E1407", name="activation", found=name, possible=list(ACTIVATIONS))
    return ACTIVATIONS[name]


def published_activation(name: ActivationName) -> str:
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == name)


def only(hf: Hf, **expected: Any) -> None:
    """Refuse settings that would change what the model computes in a way ours cannot: E1407."""
    for name, value in expected.items():
        if name in hf and hf[name] is not None and hf[name] != value:
            raise DanluError("E1407", name=name, found=hf[name], possible=value)


def _differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two configs say different things. How fresh weights were drawn is no matter of the model they became."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = (left.keys() | right.keys()) - ({"scheme"} if path.endswith(".initial") else set())
        return [
            each for name in sorted(names) for each in _differences(left.get(name), right.get(name), f"{path}.{name}")
        ]
    return [] if left == right else [f"{path[1:]}: {left} ≠ {right}"]
