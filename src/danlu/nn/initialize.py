"""How fresh weights are drawn: one function a scheme.

Each tensor's draw depends only on the seed and its name, so that adding a head, or placing the model elsewhere, leaves
all others as they were.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from danlu.settings import Settings

Scheme = Literal["normal", "residual", "t5", "fan_in", "towers", "local"]


class InitialConfig(Settings):
    """normal: N(0, std) (BERT). residual: the same, with what is added to the stream divided by sqrt(2 depth) (GPT-2).
    t5: by fan-in with unscaled scores (Raffel et al. 2020, Mesh TensorFlow). fan_in: N(0, 1/inputs), embeddings N(0, 1)
    (PaLM, section 5). towers: by width and depth of each tower, as CLIP was (Radford et al. 2021); convolutions by what
    leaves them (He et al. 2015). local: as fan_in, and each token looks at its neighbours from the first step on, see
    `local`."""

    scheme: Scheme = "normal"
    std: float = Field(0.02, gt=0)  # of normal and residual; a factor in the others (1 is the paper's)


Deviation = Callable[[str, Tensor, nn.Module, InitialConfig], float]


def initialize(model: nn.Module, config: InitialConfig, seed: int = 0, only: Iterable[str] | None = None) -> None:
    """Draw every parameter afresh, or those named in `only`. Norms start as the identity, biases at zero,
    and other vectors at what their module's `beginnings` say; a module that can `begin` says it all."""
    wanted = None if only is None else set(only)
    deviation = DEVIATIONS[config.scheme]
    done: set[int] = set()
    with torch.no_grad():
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(path, recurse=False):
                if id(parameter) in done or (wanted is not None and name not in wanted):
                    continue
                done.add(id(parameter))  # a tied tensor belongs to its first owner, the embedding
                begin = getattr(module, "begin", None)
                if begin is not None:
                    parameter.copy_(begin())
                elif parameter.ndim < 2:
                    beginnings = getattr(module, "beginnings", {})
                    parameter.fill_(beginnings.get(name.rpartition(".")[2], float(name.endswith("weight"))))
                elif config.scheme == "local" and name.endswith("embedding.positions.weight"):
                    parameter.copy_(SALIENCE * parameter.shape[1] ** -0.5 * sinusoids(*parameter.shape))
                else:
                    source = name.replace("attention.key", "attention.query") if config.scheme == "local" else name
                    draw = torch.randn(parameter.shape, generator=generator_of(seed, source))
                    parameter.copy_(draw * deviation(name, parameter, model, config))


def normal(name: str, parameter: Tensor, model: nn.Module, config: InitialConfig) -> float:
    return config.std


def residual(name: str, parameter: Tensor, model: nn.Module, config: InitialConfig) -> float:
    """GPT-2, section 2.3: the stream's variance shall not grow with depth."""
    if name.endswith(("attention.output.weight", "mlp.down.weight")):
        return config.std / math.sqrt(2 * _depth(model, name))
    return config.std


def fan_in(name: str, parameter: Tensor, model: nn.Module, config: InitialConfig) -> float:
    inputs = math.prod(parameter.shape[1:])
    return config.std if name.endswith("embedding.tokens.weight") else config.std * inputs**-0.5


def t5(name: str, parameter: Tensor, model: nn.Module, config: InitialConfig) -> float:
    """As `fan_in`, but queries absorb the scaling that T5's scores leave out."""
    if name.endswith("query.weight"):
        owner = model.get_submodule(name.removesuffix(".query.weight"))
        return config.std / math.sqrt(parameter.shape[1] * int(owner.head_size))  # type: ignore[arg-type]
    if name.endswith("relative_bias.table.weight"):
        stack = model.get_submodule(name.removesuffix(".relative_bias.table.weight"))
        return config.std / math.sqrt(int(stack.config.width))  # type: ignore[union-attr, arg-type]
    return fan_in(name, parameter, model, config)


def towers(name: str, parameter: Tensor, model: nn.Module, config: InitialConfig) -> float:
    """As open_clip and transformers draw CLIP; `std` is a factor."""
    if parameter.ndim == 4 and (".blocks." in name or ".stem." in name):
        leaving, _, *window = parameter.shape
        depthwise = parameter.shape[1] == 1
        return config.std * math.sqrt(2 / math.prod(window if depthwise else (leaving, *window)))
    if "embedding." in name:
        return 0.02 * config.std
    width = float(parameter.shape[0] if name.endswith("mlp.down.weight") else parameter.shape[1])
    if ".blocks." not in name or name.endswith("attention.output.weight"):
        return config.std / math.sqrt(width)
    if name.endswith("mlp.up.weight"):
        return config.std / math.sqrt(2 * width)
    return config.std / math.sqrt(2 * width * _depth(model, name))


def local(name: str, parameter: Tensor, model: nn.Module, config: InitialConfig) -> float:
    """A small encoder with positions in a table otherwise spends thousands of steps knowing how frequent words are and
    nothing of what stands around them. Here positions begin as sinusoids (Vaswani et al. 2017, section 3.5), and keys
    as their queries (Trockman, Kolter 2023): a score is then the larger the nearer two tokens are."""
    inside = ".blocks." in name or "embedding." in name
    return float(parameter.shape[1] ** -0.5) if inside else config.std


SALIENCE = 2.0  # of positions beside tokens, as lengths of vectors
SLOWEST = 1000.0  # wavelengths go from 2π to 2π times so many tokens


def sinusoids(count: int, width: int) -> Tensor:
    """(count, width), each number's mean square one."""
    rates = SLOWEST ** -torch.linspace(0, 1, (width + 1) // 2)
    angles = torch.arange(count)[:, None] * rates
    return 2**0.5 * torch.cat((angles.sin(), angles.cos()), 1)[:, :width]


DEVIATIONS: dict[str, Deviation] = {
    "normal": normal, "residual": residual, "t5": t5, "fan_in": fan_in, "towers": towers, "local": local,
}  # fmt: skip


def _depth(model: nn.Module, name: str) -> int:
    """How many blocks the stack has that a tensor belongs to."""
    return len(list(model.get_submodule(name.partition(".blocks.")[0] + ".blocks").children()))


def generator_of(seed: int, name: str) -> torch.Generator:
    """Chance that depends on the seed and a name alone."""
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True) & (2**63 - 1))
