"""Quantising: linear layers and tables become codes."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from pydantic import Field
from torch import Tensor, nn

from danlu.compress.balance import Balance, awq, fold, pairs, smooth
from danlu.compress.calibration import Calibration, Kind, LayerStatistics, linear_layers
from danlu.compress.gptq import fitted_grid, gptq
from danlu.compress.hqq import half_quadratic
from danlu.errors import DanluError
from danlu.kernels import status
from danlu.models.build import Model
from danlu.nn.coding import BITS, Grid, grid, pack_codes
from danlu.nn.parameters import replace_module
from danlu.nn.quantized import Codes, QuantizedConfig, QuantizedEmbedding, QuantizedLinear, quantized
from danlu.nn.transformer import Transformer
from danlu.settings import Settings
from danlu.voice import Voice

Method = Literal["rtn", "gptq", "awq", "smoothquant", "hqq", "qat"]
Precision = Literal["int8", "int4", "int3"]
BALANCES: Mapping[Method, Balance] = {"awq": "awq", "smoothquant": "smoothquant"}
KINDS: Mapping[str, tuple[Kind, ...]] = {
    "gptq": ("gram",), "awq": ("gram", "means"), "smoothquant": ("maxima",), "static": ("maxima",),
}  # fmt: skip
FEW = 64  # tables of fewer rows, and layers of fewer outputs, stay as they are


class Quantize(Settings):
    """coding: of the linear layers inside blocks. embeddings: of tables, of the vocabulary's head, which stays tied to
    its table, and of the other layers outside of blocks. method: how codes are found; int8 needs no more than the
    nearest. group: inputs that share a scale; 0: all of a row; none: all for int8, 128 otherwise. inputs: codes of
    their own, made for each token (dynamic) or with a scale measured beforehand (static), or none. symmetric: as far
    below zero as above; none: for int8. balance: inputs against weights, before; none: as the method does. ordered,
    damping: of GPTQ. keep: ends of names of layers that stay as they are.
    """

    kind: Literal["quantize"] = "quantize"
    coding: Precision = "int8"
    method: Method = "rtn"
    group: int | None = Field(None, ge=0, multiple_of=8)
    inputs: Literal["dynamic", "static", "float"] = "dynamic"
    symmetric: bool | None = None
    embeddings: Literal["int8", "int4", "none"] = "int8"
    balance: Balance | Literal["none"] | None = None
    ordered: bool = True
    damping: float = Field(0.01, gt=0)
    keep: tuple[str, ...] = ()

    @staticmethod
    def short(word: str) -> dict[str, Any]:
        """`quantize=int4`, `quantize=gptq`: one word says either."""
        if word in get_args(Precision):
            return {"coding": word}
        return {"coding": "int8" if word == "smoothquant" else "int4", "method": word}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What has to be known of inputs."""
        wanted = (self.method, self.balances, self.inputs)
        return tuple(dict.fromkeys(kind for each in wanted if each for kind in KINDS.get(each, ())))

    @property
    def needs(self) -> bool:
        """Whether texts are needed to calibrate with."""
        return bool(self.kinds)

    @property
    def trains(self) -> bool:
        """Whether it happens while something is learned, and `apply` comes afterwards."""
        return self.method == "qat"

    @property
    def balances(self) -> Balance | None:
        chosen = BALANCES.get(self.method) if self.balance is None else self.balance
        return None if chosen == "none" else chosen

    @property
    def size(self) -> int | None:
        """The group, as `fitting` takes it."""
        if self.group is None:
            return None if self.coding == "int8" else 128
        return self.group or None

    @property
    def evenly(self) -> bool:
        return self.coding == "int8" if self.symmetric is None else self.symmetric

    def config(self, layer: nn.Module, statistics: LayerStatistics | None = None) -> QuantizedConfig:
        """How a layer is kept."""
        inputs: Literal["float", "int8"] = "float" if self.inputs == "float" else "int8"
        scale = 0.0
        if self.inputs == "static" and statistics is not None and statistics.maxima is not None:
            scale = float(statistics.maxima.max()) / 127
        return QuantizedConfig(
            coding=self.coding, group=self.size, inputs=inputs, input_scale=scale, dtype=_dtype(layer)
        )

    def apply(
        self, model: Model, calibration: Calibration | None = None, voice: Voice | None = None, seed: int = 0
    ) -> Model:
        """The model with codes, in the same place. E2401 where texts are missing, E2408 for a model that has codes,
        E2409 for a name to keep that no layer has, E2431 where nothing was found to code."""
        voice = voice or Voice(quiet=True)
        if quantized(model):
            raise DanluError("E2408", found=self.kind)
        if self.needs and (calibration is None or not calibration.batches):
            raise DanluError("E2401", found="texts")
        layers = linear_layers(model)
        for word in self.keep:
            if not any(path.endswith(word) for path in layers):
                raise DanluError("E2409", found=word, possible=sorted({path.rpartition(".")[2] for path in layers}))
        path, reason = status()
        voice.say(f"products of codes on this CPU: {path}" + (f" ({reason})" if reason else ""),
                  f"本机编码乘法路径：{path}" + (f"（{reason}）" if reason else ""))  # fmt: skip
        self._blocks(model, calibration, voice)
        if self.embeddings != "none":
            self._outside(model)
        coded = [module for module in model.modules() if isinstance(module, Codes)]
        if not coded:
            raise DanluError("E2431", found=type(model).__name__)
        left = sum(each.weight.numel() for each in linear_layers(model).values())
        voice.say(f"{len(coded)} matrices became codes; {left:,} weights of linear layers stay as they were",
                  f"{len(coded)} 个矩阵已量化；线性层中有 {left:,} 个权重保持原样")  # fmt: skip
        return model

    def _blocks(self, model: Model, calibration: Calibration | None, voice: Voice) -> None:
        """Block after block, each from what the coded ones below it give."""
        depth = sum(len(stack.blocks) for stack in model.modules() if isinstance(stack, Transformer))
        if not self.needs or calibration is None:
            for path, layer in self._wanted(linear_layers(model)):
                if ".blocks." in path:
                    self._code(model, path, layer, None)
            return
        if self.balances:
            self._balance(model, calibration)
        with voice.progress("quantising", "量化", depth) as bar:
            for path, statistics in calibration.through(model, self.kinds):
                if path:
                    for name, layer in self._wanted(linear_layers(model, under=path)):
                        self._code(model, name, layer, statistics.get(name))
                    bar.advance(1)

    def _balance(self, model: Model, calibration: Calibration) -> None:
        """Everywhere, before anything is rounded: what is folded changes nothing."""
        statistics = calibration.collect(model, self.kinds)
        for path, block in list(model.named_modules()):
            for pair in pairs(block):
                known = statistics.get(f"{path}.{pair.readers[0]}")
                if known is None or any(name.endswith(self.keep or ("\0",)) for name in pair.readers):
                    continue
                if self.balances == "smoothquant":
                    factors = smooth(pair, block, known)
                else:
                    factors = awq(pair, block, known, BITS[self.coding], self.size, self.evenly)
                fold(pair, block, factors)

    def _code(self, model: nn.Module, path: str, layer: nn.Linear, statistics: LayerStatistics | None) -> None:
        codes, on = self.codes(layer.weight.detach(), statistics)
        coded = pack_codes(codes, on, BITS[self.coding])
        replace_module(model, path, QuantizedLinear.of(layer, self.config(layer, statistics), coded))

    def codes(self, weight: Tensor, statistics: LayerStatistics | None) -> tuple[Tensor, Grid]:
        """Codes of one matrix (O, I) and the grid they are of."""
        bits = BITS[self.coding]
        gram = statistics.gram if statistics is not None else None
        if self.method == "hqq":
            on = half_quadratic(weight, bits, self.size, self.evenly)
        elif gram is not None and self.coding != "int8":
            on = fitted_grid(weight, gram.to(weight.device), bits, self.size, self.evenly)
        else:
            on = grid(weight, bits, self.size, self.evenly)
        if self.method == "gptq" and gram is not None:
            return gptq(weight, gram.to(weight.device), on, self.damping, self.ordered), on
        return on.codes(weight), on

    def _outside(self, model: Model) -> None:
        """Tables, the head over the vocabulary, and layers between a tower and its answers, by the nearest codes."""
        group = None if self.embeddings == "int8" else (self.size or 128)
        known: dict[int, Codes] = {}
        for path, layer in list(model.named_modules()):
            if not isinstance(layer, (nn.Embedding, nn.Linear)) or path.endswith(self.keep or ("\0",)):
                continue
            if ".blocks." in path or len(layer.weight) < FEW:
                continue
            config = QuantizedConfig(coding=self.embeddings, group=group, dtype=_dtype(layer))
            made: Codes
            if isinstance(layer, nn.Embedding):
                made = QuantizedEmbedding.of(layer, config)
            else:
                made = QuantizedLinear.of(layer, config)
            first = known.setdefault(id(layer.weight), made)
            for name in ("codes", "scales", "zeros"):
                setattr(made, name, getattr(first, name))
            replace_module(model, path, made)

    def _wanted(self, layers: Mapping[str, nn.Linear]) -> Iterator[tuple[str, nn.Linear]]:
        for path, layer in layers.items():
            if not path.endswith(self.keep or ("\0",)):
                yield path, layer


def _dtype(layer: nn.Module) -> Any:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return str(weight.dtype).removeprefix("torch.")
