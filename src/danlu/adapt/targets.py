"""Finding what a change speaks of: linear layers and parameters by the names our models give them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import nn

from danlu.adapt.layers import AdaptedLinear
from danlu.errors import DanluError, nearest
from danlu.nn.adapters import Adapters
from danlu.nn.quantized import QuantizedLinear, code_names

ATTENTION, MLP = ("query", "key", "value", "output"), ("up", "gate", "down")
# Groups of the linear layers inside blocks, by the last part of their names.
GROUPS: dict[str, tuple[str, ...]] = {"all": ATTENTION + MLP, "attention": ATTENTION, "mlp": MLP}
VOCABULARY = "head.output"
Linear = nn.Linear | QuantizedLinear | AdaptedLinear
OTHERS = ("heads", "head", "pairs")  # what stands on a tower


def linear_layers(model: nn.Module) -> dict[str, Linear]:
    """Every linear layer by its path, adapted or not; the vocabulary's among them."""
    inside = tuple(f"{path}." for path, module in model.named_modules() if isinstance(module, Adapters))
    found = {path: module for path, module in model.named_modules() if isinstance(module, Linear)}
    return {path: module for path, module in found.items() if not path.startswith(inside or ("\0",))}


def find_layers(model: nn.Module, targets: Sequence[str]) -> dict[str, Linear]:
    """The linear layers that words speak of: groups (all, attention, mlp), or the end of a path, `query`,
    `cross_attention.query`, `blocks.0.mlp.up`.

    E2001: a word that fits none; E2004: the vocabulary matrix, which the loss reads by itself and which may be the
    embedding.
    """
    layers = linear_layers(model)
    chosen: set[str] = set()
    for word in targets:
        fitting = [path for path in layers if _fits(word, path)]
        if not fitting:
            raise DanluError("E2001", found=word, possible=_words(layers), nearest=nearest(word, _words(layers)))
        if any(path.endswith(VOCABULARY) for path in fitting):
            raise DanluError("E2004", found=word, possible=_words(layers))
        chosen.update(fitting)
    return {path: layer for path, layer in layers.items() if path in chosen}


def train_only(model: nn.Module, trains: Callable[[str], bool]) -> None:
    """Let the parameters train whose names say so (a tied one by its first name), and no others. E2430 where these are
    codes, which cannot."""
    chosen = {name for name, _ in model.named_parameters() if trains(name)}
    if coded := sorted(chosen & code_names(model)):
        raise DanluError("E2430", found=coded[0].rpartition(".")[0], count=len(coded))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def named(words: Sequence[str], model: nn.Module) -> Callable[[str], bool]:
    """Whether a parameter's name has one of these words among its parts: `heads`, `norm`, `blocks.5`.

    E2001 for a word that no parameter has, unless it stands for a head, which not every model has.
    """
    names = [name for name, _ in model.named_parameters()]
    for word in words:
        if word not in OTHERS and not any(_has(word, name) for name in names):
            parts = sorted({part for name in names for part in name.split(".")})
            raise DanluError("E2001", found=word, possible=parts, nearest=nearest(word, parts))
    return lambda name: any(_has(word, name) for word in words)


def adapters(model: nn.Module) -> Iterator[tuple[str, Adapters]]:
    """Every place of a model where adapters may be, by its path."""
    for path, module in model.named_modules():
        if isinstance(module, Adapters):
            yield path, module


def _fits(word: str, path: str) -> bool:
    if word in GROUPS:
        return ".blocks." in path and path.rpartition(".")[2] in GROUPS[word]
    return path == word or path.endswith("." + word)


def _has(word: str, name: str) -> bool:
    return f".{word}." in f".{name}."


def _words(layers: Mapping[str, object]) -> list[str]:
    inside = {path.rpartition(".")[2] for path in layers if ".blocks." in path}
    return [*GROUPS, *sorted(inside)]
