"""What may train, as settings that can do it: `apply` changes a model in place and marks what trains."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from danlu.adapt.layers import AdaptedLinear, Bottleneck, LowRank, Scaling, shape_of
from danlu.adapt.quantized import Base, coded, place_of
from danlu.adapt.targets import OTHERS, find_layers, linear_layers, named, train_only
from danlu.errors import DanluError
from danlu.nn.adapters import Adapters, Prefix, Prefixes, Prompt, Prompts
from danlu.nn.attention import Attention
from danlu.nn.coding import Coding
from danlu.nn.embedding import TokenEmbedding
from danlu.nn.initialize import generator_of
from danlu.nn.mlp import ActivationName
from danlu.nn.parameters import replace_module
from danlu.settings import Settings

NAME = "default"  # of an adapter that was given none; PEFT calls it so


class Part(Settings):
    """Some of the model's own parameters train; nothing is added.

    rate: by how much a learning rate that suits the whole model may be multiplied where only this trains.
    """

    kind: str
    adds: ClassVar[bool] = False
    rate: ClassVar[float] = 1.0

    def apply(self, model: nn.Module, seed: int = 0, name: str = NAME) -> None:
        """Mark what trains. E2003 where that is nothing."""
        train_only(model, lambda each: self.trains(each, model))
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise DanluError("E2003", found=self.kind)

    def trains(self, name: str, model: nn.Module) -> bool:
        raise NotImplementedError


class Full(Part):
    """Everything trains."""

    kind: Literal["full"] = "full"

    def trains(self, name: str, model: nn.Module) -> bool:
        return True


class Head(Part):
    """Only what stands on the tower trains: a linear probe. A vocabulary matrix that is also the embedding does not."""

    kind: Literal["head"] = "head"
    rate: ClassVar[float] = 10.0

    def trains(self, name: str, model: nn.Module) -> bool:
        return name.startswith(tuple(f"{part}." for part in OTHERS))


class Top(Part):
    """The last blocks of each tower train, what follows them, and the heads (Lee et al. 2019)."""

    kind: Literal["top"] = "top"
    rate: ClassVar[float] = 2.0
    layers: int = Field(2, ge=1)

    def trains(self, name: str, model: nn.Module) -> bool:
        if found := re.fullmatch(r"(.*\.blocks)\.(\d+)\..*", name):
            return int(found[2]) >= len(list(model.get_submodule(found[1]).children())) - self.layers
        return "embedding." not in name and "relative_bias" not in name


class BitFit(Part):
    """Only biases train, and the heads (Ben Zaken et al. 2022)."""

    kind: Literal["bitfit"] = "bitfit"
    rate: ClassVar[float] = 20.0

    def trains(self, name: str, model: nn.Module) -> bool:
        return name.endswith(".bias") or name.startswith("heads.")

    def apply(self, model: nn.Module, seed: int = 0, name: str = NAME) -> None:
        """E2003 where the tower has no biases (Llama, T5)."""
        if not any(".blocks." in each and each.endswith(".bias") for each, _ in model.named_parameters()):
            raise DanluError("E2003", found=self.kind)
        super().apply(model, seed, name)


class Addition(Settings):
    """Something small is added and trains; the model's own weights stay, except for those of `also`.

    also: parts of the model that train as they are and are saved with the adapter, heads by default. base: how the
    frozen weights of the blocks are kept; none: as they are.
    """

    kind: str
    adds: ClassVar[bool] = True
    merges: ClassVar[bool] = True  # whether a plain model can compute the same
    rate: ClassVar[float] = 10.0
    also: tuple[str, ...] = ("heads",)
    base: Literal["none", "int8", "int4", "nf4"] = "none"

    def apply(self, model: nn.Module, seed: int = 0, name: str = NAME) -> None:
        """Add, switch to what was added, and let it train. The same seed adds the same numbers. E2011 where the name
        is taken."""
        named(self.also, model)
        if any(name in place.adapters for place in model.modules() if isinstance(place, Adapters)):
            raise DanluError("E2011", found=name)
        if self.base != "none":
            quantize(model, self.base)
        self.add(model, seed, name)
        self.mark(model, name)

    def mark(self, model: nn.Module, name: str = NAME) -> None:
        """Let what was added train, and `also`; nothing else."""
        chosen = named(self.also, model)
        train_only(model, lambda each: f".adapters.{name}." in each or (".adapters." not in each and chosen(each)))

    def add(self, model: nn.Module, seed: int, name: str) -> None:
        raise NotImplementedError

    def rates(self, model: nn.Module) -> dict[str, float]:
        """Parameters whose learning rate differs, and by how much."""
        return {}


class OnLinear(Addition):
    """Something beside linear layers."""

    def add(self, model: nn.Module, seed: int, name: str) -> None:
        for path, layer in find_layers(model, self.words(model)).items():
            base = layer.base if isinstance(layer, AdaptedLinear) else layer
            part = self.part(path, base)
            if isinstance(part, (LowRank, Bottleneck)) and not next(part.parameters()).is_meta:
                part.draw(generator_of(seed, f"{path}.{self.kind}"))
            if not isinstance(layer, AdaptedLinear):
                layer = AdaptedLinear(base)
                replace_module(model, path, layer)
            layer.adapters[name] = part.train(layer.training)
            layer.active = name

    def words(self, model: nn.Module) -> Sequence[str]:
        raise NotImplementedError

    def part(self, path: str, base: Base) -> nn.Module:
        raise NotImplementedError


class Thin(OnLinear):
    """W + scale · B A, both thin (Hu et al. 2021).

    targets: all, attention, mlp, or names of linear layers. alpha: the scale is alpha / rank, 2 where not given.
    root: alpha / sqrt(rank) instead (rsLoRA, Kalajdzievski 2023). ratio: how much faster B learns than A (LoRA+,
    Hayou et al. 2024). ranks and scales: of layers, by path, where they differ.
    """

    rate: ClassVar[float] = 20.0
    rank: int = Field(8, ge=1)
    alpha: float | None = Field(None, gt=0)
    root: bool = False
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("all",)
    ratio: float = Field(1.0, ge=1)
    ranks: dict[str, int] = Field(default_factory=dict)
    scales: dict[str, float] = Field(default_factory=dict)
    decomposed: ClassVar[bool] = False

    @property
    def scale(self) -> float:
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return alpha / (self.rank**0.5 if self.root else self.rank)

    def rank_of(self, path: str) -> int:
        return self.ranks.get(path, self.rank)

    def words(self, model: nn.Module) -> Sequence[str]:
        return self.targets

    def part(self, path: str, base: Base) -> nn.Module:
        rank = self.rank_of(path)
        if rank > (most := min(shape_of(base))):
            raise DanluError("E2002", where=path, found=rank, possible=f"≤ {most}")
        return LowRank(base, rank, self.scales.get(path, self.scale), self.dropout, self.decomposed)

    def rates(self, model: nn.Module) -> dict[str, float]:
        if self.ratio == 1.0:
            return {}
        return {
            each: self.ratio for each, parameter in model.named_parameters()
            if parameter.requires_grad and ".adapters." in each and each.endswith(".up")
        }  # fmt: skip


class Lora(Thin):
    """Low-rank adaptation; see `Thin`."""

    kind: Literal["lora"] = "lora"


class Dora(Thin):
    """LoRA for the direction of each row of weights, and a learned length (Liu et al. 2024)."""

    kind: Literal["dora"] = "dora"
    decomposed: ClassVar[bool] = True


class Ia3(OnLinear):
    """Keys, values and what the feed-forward holds inside are multiplied by learned vectors (Liu et al. 2022)."""

    kind: Literal["ia3"] = "ia3"
    rate: ClassVar[float] = 150.0
    targets: tuple[str, ...] = ("key", "value", "down")
    inputs: tuple[str, ...] = ("down",)  # of which layers the inputs are multiplied, not the outputs

    def words(self, model: nn.Module) -> Sequence[str]:
        return self.targets

    def part(self, path: str, base: Base) -> nn.Module:
        at_input = any(path == word or path.endswith("." + word) for word in self.inputs)
        return Scaling(base, "input" if at_input else "output")


class BottleneckAdapter(OnLinear):
    """A small feed-forward after each sub-layer. places: both, as Houlsby et al. 2019, or only the feed-forward's, as
    Pfeiffer et al. 2021."""

    kind: Literal["bottleneck"] = "bottleneck"
    merges: ClassVar[bool] = False
    inner: int = Field(16, ge=1)
    places: Literal["both", "mlp"] = "mlp"
    activation: ActivationName = "relu"

    def words(self, model: nn.Module) -> Sequence[str]:
        return ("attention.output", "mlp.down") if self.places == "both" else ("mlp.down",)

    def part(self, path: str, base: Base) -> nn.Module:
        if self.inner > (most := shape_of(base)[0]):
            raise DanluError("E2002", where=path, found=self.inner, possible=f"≤ {most}")
        return Bottleneck(base, self.inner, self.activation)


class PrefixTuning(Addition):
    """Learned keys and values before the text, in every layer (Li and Liang 2021; Liu et al. 2022, P-tuning v2)."""

    kind: Literal["prefix"] = "prefix"
    merges: ClassVar[bool] = False
    rate: ClassVar[float] = 30.0
    tokens: int = Field(16, ge=1)

    def add(self, model: nn.Module, seed: int, name: str) -> None:
        _check_length(model, self.tokens)
        for path, layer in list(model.named_modules()):
            if isinstance(layer, Attention) and not path.endswith("cross_attention"):
                like = place_of(layer.key) if isinstance(layer.key, Base) else place_of(layer.key.base)
                part = Prefix(layer.kv_heads, self.tokens, layer.head_size, **like)
                if not part.key.is_meta:
                    part.draw(generator_of(seed, f"{path}.prefix"))
                layer.prefixes = layer.prefixes or Prefixes()
                layer.prefixes.adapters[name] = part
                layer.prefixes.active = name


class PromptTuning(Addition):
    """Learned vectors before the text of the first tower (Lester et al. 2021)."""

    kind: Literal["prompt"] = "prompt"
    merges: ClassVar[bool] = False
    rate: ClassVar[float] = 100.0
    tokens: int = Field(16, ge=1)

    def add(self, model: nn.Module, seed: int, name: str) -> None:
        _check_length(model, self.tokens)
        embedding = next(module for module in model.modules() if isinstance(module, TokenEmbedding))
        table = embedding.tokens.weight
        part = Prompt(self.tokens, table.shape[1], device=table.device, dtype=table.dtype)
        if not table.is_meta:
            part.draw(generator_of(seed, "prompt"), table)
        embedding.prompts = embedding.prompts or Prompts()
        embedding.prompts.adapters[name] = part
        embedding.prompts.active = name


KINDS: Mapping[str, type[Part] | type[Addition]] = {
    "full": Full, "head": Head, "top": Top, "bitfit": BitFit, "lora": Lora, "dora": Dora, "ia3": Ia3,
    "bottleneck": BottleneckAdapter, "prefix": PrefixTuning, "prompt": PromptTuning,
}  # fmt: skip


def quantize(model: nn.Module, coding: Coding) -> None:
    """Keep the linear layers of the blocks as codes. What was coded already stays as it is."""
    for path, layer in linear_layers(model).items():
        if ".blocks." in path and isinstance(layer, nn.Linear):
            replace_module(model, path, coded(layer, coding))


def _check_length(model: nn.Module, tokens: int) -> None:
    """E2008 where virtual tokens leave no room for text."""
    length = getattr(model.config, "length", None)
    if length is not None and tokens >= length:
        raise DanluError("E2008", found=tokens, possible=f"< {length}")
