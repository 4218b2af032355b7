"""Pruning: weights that become zero, and heads, units, layers and channels that go altogether."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn

from danlu.compress import importance
from danlu.compress.calibration import Calibration, Kind, Statistics, linear_layers
from danlu.compress.settle import settle
from danlu.compress.sparsify import Pattern, magnitude, sparse_gpt, wanda
from danlu.compress.surgery import (
    groups_of,
    keep_bias,
    keep_heads,
    keep_layers,
    keep_units,
    narrowed,
    readers_of,
    stacks,
    widths,
)
from danlu.errors import Both, DanluError
from danlu.models.build import Model
from danlu.nn.attention import Attention
from danlu.nn.mlp import Mlp
from danlu.nn.quantized import quantized
from danlu.settings import Settings
from danlu.voice import Voice

Part = Literal["weights", "heads", "units", "layers", "width", "vocabulary"]
Method = Literal["magnitude", "wanda", "sparsegpt", "movement", "activation", "taylor", "fisher", "even", "frequency"]
# What each part may be chosen by; the first is what is taken where nothing is said.
METHODS: Mapping[Part, tuple[Method, ...]] = {
    "weights": ("sparsegpt", "wanda", "magnitude", "movement"),
    "heads": ("taylor", "fisher", "activation", "magnitude"),
    "units": ("taylor", "fisher", "activation", "magnitude"),
    "layers": ("activation", "even"),
    "width": ("activation", "fisher", "magnitude"),
    "vocabulary": ("frequency",),
}
WEIGHTS: Mapping[Method, tuple[Kind, ...]] = {"sparsegpt": ("gram",), "wanda": ("norms",), "magnitude": ()}


def _pattern(value: object) -> object:
    """2:4 -> (2, 4): of four neighbours two stay."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\d+):(\d+)", value)):
        return (int(found[1]), int(found[2]))
    return value


class Prune(Settings):
    """share: of the part that goes, 0.5 of the weights, of each layer's heads, of the layers. keep: how many stay
    instead, where that is clearer: layers=4, tokens of the vocabulary, width.

    pattern: n:m, of m neighbouring weights n stay. uneven: heads and units are compared over all layers, so that each
    keeps a number of its own; published classes cannot read that. multiple: units and width are rounded to it.
    refit: what stays of a layer's inputs is fitted to what all of them gave. rounds: so many steps, each followed by
    the distilling that comes next in a chain.
    """

    kind: Literal["prune"] = "prune"
    needs: ClassVar[bool] = True  # texts to calibrate with
    part: Part = "weights"
    method: Method | None = None
    share: float = Field(0.5, gt=0, lt=1)
    keep: int | None = Field(None, ge=1)
    pattern: Annotated[Pattern | None, BeforeValidator(_pattern)] = None
    uneven: bool = False
    multiple: int = Field(32, ge=1)
    refit: bool = True
    damping: float = Field(0.01, gt=0)
    rounds: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> "Prune":
        possible = METHODS[self.part]
        if self.method is not None and self.method not in possible:
            raise ValueError(Both(f"{self.part}: {' or '.join(possible)}", f"{self.part}：{' 或 '.join(possible)}"))
        if self.pattern is not None and (self.part != "weights" or not 0 < self.pattern[0] < self.pattern[1]):
            raise ValueError(Both("n:m of weights, n less than m", "仅用于 weights 的 n:m，且 n 小于 m"))
        if self.keep is not None and self.part == "weights":
            raise ValueError(Both("share of the weights, not keep", "weights 请用 share，不用 keep"))
        return self

    @property
    def by(self) -> Method:
        return self.method or METHODS[self.part][0]

    @property
    def trains(self) -> bool:
        """Whether it happens while something is learned, and `apply` alone cannot do it."""
        return self.by == "movement"

    def apply(
        self, model: Model, calibration: Calibration | None = None, voice: Voice | None = None, seed: int = 0
    ) -> Model:
        """The pruned model, in the same place. E2401 where texts, or a loss, are missing; E2405 to E2408 where the part
        cannot be cut so, or the model holds codes."""
        if quantized(model):
            raise DanluError("E2408", found=self.kind)
        APPLY[self.part](self, model, calibration or Calibration([]), voice or Voice(quiet=True))
        return settle(model)


# Weights


def _weights(change: Prune, model: Model, calibration: Calibration, voice: Voice) -> None:
    """Of the linear layers inside blocks, as published."""
    if change.by == "movement":
        raise DanluError("E2405", found="movement")
    kinds = WEIGHTS[change.by]
    _needs(calibration, kinds)
    if change.by == "sparsegpt":  # a layer is decided on from what the pruned ones below it give
        with voice.progress("pruning", "剪枝", sum(len(stack.blocks) for _, stack in stacks(model))) as bar:
            for path, statistics in calibration.through(model, kinds):
                if path:
                    _thin(change, linear_layers(model, under=path), statistics)
                    bar.advance(1)
        return
    inside = {path: layer for path, layer in linear_layers(model).items() if ".blocks." in path}
    _thin(change, inside, calibration.collect(model, kinds, inside) if kinds else {})


@torch.no_grad()
def _thin(change: Prune, layers: Mapping[str, nn.Linear], statistics: Statistics) -> None:
    for path, layer in layers.items():
        known = statistics.get(path)
        if change.by == "magnitude":
            made = magnitude(layer.weight, change.share, change.pattern)
        elif known is None:  # never ran
            continue
        elif change.by == "wanda":
            made = wanda(layer.weight, known, change.share, change.pattern)
        else:
            made = sparse_gpt(layer.weight, known, change.share, change.pattern, change.damping)
        layer.weight.copy_(made)


# Heads and units


def _heads(change: Prune, model: Model, calibration: Calibration, voice: Voice) -> None:
    """Groups of heads that share keys go together. Where layers share a bias on scores (T5) all lose the same ones."""
    places = {path: each for path, each in model.named_modules() if _of_block(path) and isinstance(each, Attention)}
    statistics = _statistics(change, model, calibration, [f"{path}.output" for path in places])
    worth = {
        path: importance.of_heads(each, statistics.get(f"{path}.output"), change.by)  # type: ignore[arg-type]
        for path, each in places.items()
    }
    for stack_path, stack in stacks(model):
        own = [path for path in places if path.startswith(f"{stack_path}.blocks.")]
        biased = [path for path in own if stack.relative_bias and not path.endswith("cross_attention")]
        if biased:
            shared = torch.stack([worth[path] for path in biased]).sum(0)
            worth |= dict.fromkeys(biased, shared)
    groups = {path: groups_of(each) for path, each in places.items()}
    kept = _chosen(change, worth, {path: (*each, 1) for path, each in groups.items()}, voice)
    for path, stay in kept.items():
        count, share = groups[path]
        if len(stay) < count:
            columns = stay[:, None] * places[path].head_size * share + torch.arange(places[path].head_size * share)
            _refit(change, places[path], "output", statistics, f"{path}.output", columns.flatten())
            keep_heads(places[path], stay.tolist())
    for path, stack in stacks(model):
        first = f"{path}.blocks.0.attention"
        if stack.relative_bias and first in kept:
            keep_bias(stack.relative_bias, kept[first].tolist(), groups[first][1])


def _units(change: Prune, model: Model, calibration: Calibration, voice: Voice) -> None:
    places = {path: each for path, each in model.named_modules() if _of_block(path) and isinstance(each, Mlp)}
    statistics = _statistics(change, model, calibration, [f"{path}.down" for path in places])
    worth = {
        path: importance.of_units(each, statistics.get(f"{path}.down"), change.by)  # type: ignore[arg-type]
        for path, each in places.items()
    }
    sizes = {path: (each.up.out_features, 1, change.multiple) for path, each in places.items()}
    for path, units in _chosen(change, worth, sizes, voice).items():
        _refit(change, places[path], "down", statistics, f"{path}.down", units)
        keep_units(places[path], units)


def _statistics(change: Prune, model: Model, calibration: Calibration, names: list[str]) -> Statistics:
    """What the method needs, and the Gram matrices for the fit: of these layers alone."""
    own = importance.NEEDS[change.by]  # type: ignore[index]
    _needs(calibration, own)
    kinds: tuple[Kind, ...] = (*own, "gram") if change.refit and calibration.batches else own
    return calibration.collect(model, kinds, names) if kinds else {}


def _chosen(
    change: Prune, worth: Mapping[str, Tensor], sizes: Mapping[str, tuple[int, int, int]], voice: Voice
) -> dict[str, Tensor]:
    """Which of each place stay, in rising order. sizes: how many there are, how many heads each stands for, and to what
    the number is rounded. A place always keeps something."""
    wanted = {path: _count(change, *size, voice=voice) for path, size in sizes.items()}
    if change.uneven:
        joined = torch.cat([worth[path].cpu() for path in sizes])
        ranks = joined.argsort(dim=0, descending=True, stable=True).argsort()
        stay = ranks < sum(wanted.values())
        split = torch.split(stay, [size[0] for size in sizes.values()])
        wanted = {
            path: min(size[0], max(size[2], round(int(part.sum()) / size[2]) * size[2]))
            for (path, size), part in zip(sizes.items(), split, strict=True)
        }
    return {
        path: worth[path].argsort(dim=0, descending=True, stable=True)[: wanted[path]].sort().values.cpu()
        for path in sizes
    }


def _count(change: Prune, there: int, heads: int, multiple: int, voice: Voice) -> int:
    """How many of a place stay. E2406: query heads that no number of key heads leaves."""
    if change.keep is not None:
        if change.keep % heads or change.keep > there * heads:
            nearest = min(max(1, round(change.keep / heads)), there) * heads
            raise DanluError("E2406", found=change.keep, possible=[heads * n for n in range(1, there + 1)],
                             nearest=str(nearest))  # fmt: skip
        return change.keep // heads
    exact = there * (1 - change.share)
    return max(min(multiple, there), min(there, round(exact / multiple) * multiple))


@torch.no_grad()
def _refit(change: Prune, owner: nn.Module, name: str, statistics: Statistics, path: str, inputs: Tensor) -> None:
    """Fit the weights on the inputs that stay; those of the others go with them."""
    linear = owner.get_submodule(name)
    if change.refit and path in statistics and statistics[path].gram is not None and isinstance(linear, nn.Linear):
        linear.weight[:, inputs.to(linear.weight.device)] = importance.refitted(linear, statistics, path, inputs)


# Layers and width


def _layers(change: Prune, model: Model, calibration: Calibration, voice: Voice) -> None:
    """From each stack, the block that is missed least, and again; or so that those that stay are evenly spaced."""
    for path, stack in stacks(model):
        there = len(stack.blocks)
        stays = max(1, min(there, change.keep or round(there * (1 - change.share))))
        if change.by == "even":
            at = torch.linspace(0, there - 1, stays) if stays > 1 else torch.tensor([there - 1.0])
            keep_layers(stack, [round(float(each)) for each in at])
            continue
        _needs(calibration, ("norms",))
        numbers = list(range(there))
        while len(numbers) > stays:
            worst = int(importance.of_layers(model, stack, calibration).argmin())
            voice.say(f"layer {numbers[worst]} of {path} goes", f"移除 {path} 的第 {numbers[worst]} 层")
            del numbers[worst]
            keep_layers(stack, [at for at in range(len(stack.blocks)) if at != worst])


def _width(change: Prune, model: Model, calibration: Calibration, voice: Voice) -> None:
    """Channels of the stream, the same in every layer. Of two towers the text's alone."""
    own = importance.NEEDS[change.by]  # type: ignore[index]
    _needs(calibration, own)
    statistics = calibration.collect(model, own) if own else {}
    for root, width in widths(model):
        stays = change.keep or max(
            change.multiple, round(width * (1 - change.share) / change.multiple) * change.multiple
        )
        if stays >= width:
            raise DanluError("E2407", found=stays, possible=f"< {width}")
        readers = [(linear, statistics.get(path)) for path, linear in readers_of(model, root)]
        known = [each for each in readers if each[1] is not None or change.by == "magnitude"]
        worth = importance.of_channels(known, width, change.by)  # type: ignore[arg-type]
        narrowed(model, root, worth.argsort(dim=0, descending=True, stable=True)[:stays].sort().values, width)


def _vocabulary(change: Prune, model: Model, calibration: Calibration, voice: Voice) -> None:
    raise DanluError("E2405", found="vocabulary")  # a tokenizer has to be cut with it: `vocabulary.cut`


APPLY = {
    "weights": _weights, "heads": _heads, "units": _units, "layers": _layers, "width": _width,
    "vocabulary": _vocabulary,
}  # fmt: skip


def _of_block(path: str) -> bool:
    return ".blocks." in path


def _needs(calibration: Calibration, kinds: tuple[Kind, ...]) -> None:
    if kinds and not calibration.batches:
        raise DanluError("E2401", found="texts")
