"""Factorising: matrices become products of two thin ones, each rank chosen for the whole model together.

The best product of a rank keeps the largest singular values of W S, where S says what counts: nothing (SVD), how much
the loss feels each row (FWSVD, Hsu et al. 2022), or what the layer reads, S Sᵀ = X Xᵀ (SVD-LLM, Wang et al. 2024;
DRONE, Chen et al. 2021). `felt` has both sides: of T W S, where Tᵀ T = E[g gᵀ] of the gradients g of outputs, the
singular values are what the loss would lose (the Kronecker factors of Martens and Grosse 2015), in all layers alike.
Shapes: W (O, I), R rank.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from danlu.compress.calibration import Calibration, Kind, LayerStatistics, linear_layers
from danlu.compress.settle import settle
from danlu.errors import DanluError, nearest
from danlu.models.build import Model
from danlu.nn.embedding import TokenEmbedding
from danlu.nn.factorized import FactorizedConfig, FactorizedLinear
from danlu.nn.heads import LanguageHead
from danlu.nn.parameters import replace_module
from danlu.nn.quantized import quantized
from danlu.settings import Settings
from danlu.voice import Voice

Method = Literal["felt", "whitened", "fisher", "svd"]
KINDS: Mapping[Method, tuple[Kind, ...]] = {
    "felt": ("gram", "felt"), "whitened": ("gram",), "fisher": ("fisher",), "svd": (),
}  # fmt: skip
GROUPS: Mapping[str, tuple[str, ...]] = {
    "attention": ("query", "key", "value", "output"), "mlp": ("up", "gate", "down"),
    "all": ("query", "key", "value", "output", "up", "gate", "down"),
}  # fmt: skip
EMBEDDINGS = "embeddings"


class Factorize(Settings):
    """keep: the share of the targets' parameters that stays. targets: all, attention, mlp, names of linear layers, or
    embeddings. allocation: together gives each layer the rank its singular values deserve, uniform gives all the same
    share; none: together where values of different layers are comparable, those of `felt`. rank: one for all instead.
    multiple: ranks are rounded to it.

    A layer whose factors would hold as much as it does stays as it is.
    """

    kind: Literal["factorize"] = "factorize"
    method: Method = "felt"
    keep: float = Field(0.5, gt=0, lt=1)
    rank: int | None = Field(None, ge=1)
    targets: tuple[str, ...] = ("all",)
    allocation: Literal["together", "uniform"] | None = None
    multiple: int = Field(16, ge=1)
    damping: float = Field(1e-4, gt=0)
    trains: ClassVar[bool] = False

    @property
    def needs(self) -> bool:
        """Texts to calibrate with."""
        return bool(KINDS[self.method])

    def apply(
        self, model: Model, calibration: Calibration | None = None, voice: Voice | None = None, seed: int = 0
    ) -> Model:
        """The factorised model, in the same place. E2401 where texts, or a loss, are missing; E2409 for a target that
        does not exist."""
        if quantized(model):
            raise DanluError("E2408", found=self.kind)
        voice = voice or Voice(quiet=True)
        kinds = KINDS[self.method]
        if kinds and (calibration is None or not calibration.batches):
            raise DanluError("E2401", found="texts")
        layers = self._layers(model)
        statistics = calibration.collect(model, kinds, layers) if calibration and kinds else {}
        with voice.progress("factorising", "分解", 2 * len(layers)) as bar:
            spectra = {}
            for path, layer in layers.items():
                spectra[path] = spectrum(layer.weight, statistics.get(path), self.method, self.damping)
                bar.advance(1)
            ranks = self._ranks(layers, spectra)
            for path, layer in layers.items():
                if ranks[path]:
                    replace_module(model, path, spectra[path].factors(layer, ranks[path]))
                bar.advance(1)
        if EMBEDDINGS in self.targets:
            _embeddings(self, model)
        return settle(model)

    def _layers(self, model: Model) -> dict[str, nn.Linear]:
        inside = {path: layer for path, layer in linear_layers(model).items() if ".blocks." in path}
        words = {word for target in self.targets for word in GROUPS.get(target, (target,))} - {EMBEDDINGS}
        ends = {path.rpartition(".")[2] for path in inside}
        known = [*GROUPS, EMBEDDINGS, *sorted(ends)]
        for target in self.targets:
            if target not in known:
                raise DanluError("E2409", found=target, possible=known, nearest=nearest(target, known))
        return {path: layer for path, layer in inside.items() if path.rpartition(".")[2] in words}

    def _ranks(self, layers: Mapping[str, nn.Linear], spectra: Mapping[str, "Spectrum"]) -> dict[str, int]:
        """0 where a layer stays as it is."""
        if self.rank is not None:
            wanted = dict.fromkeys(layers, self.rank)
        elif (self.allocation or ("together" if self.method == "felt" else "uniform")) == "uniform":
            wanted = {path: _even(layer, self.keep, self.multiple) for path, layer in layers.items()}
        else:
            wanted = allocated(layers, spectra, self.keep, self.multiple, self.method == "felt")
        return {path: rank if _pays(layers[path], rank) else 0 for path, rank in wanted.items()}


@dataclass(frozen=True)
class Spectrum:
    """W S = U diag(values) Vᵀ. left: U (O, K). right: Vᵀ S⁻¹ (K, I). values (K,)."""

    left: Tensor
    values: Tensor
    right: Tensor

    def factors(self, linear: nn.Linear, rank: int) -> FactorizedLinear:
        """The best two factors of a rank; each gets the root of the values."""
        with torch.device("meta"):
            made = FactorizedLinear(
                linear.in_features, linear.out_features, linear.bias is not None, FactorizedConfig(rank=rank)
            )
        root = self.values[:rank].sqrt()
        made.down.weight = nn.Parameter((root[:, None] * self.right[:rank]).to(linear.weight).contiguous())
        made.up.weight = nn.Parameter((self.left[:, :rank] * root).to(linear.weight).contiguous())
        if linear.bias is not None:
            made.up.bias = nn.Parameter(linear.bias.detach().clone())
        return made.train(linear.training)


@torch.no_grad()
def spectrum(weight: Tensor, statistics: LayerStatistics | None, method: Method, damping: float = 1e-4) -> Spectrum:
    """A layer's matrix as sums of rank one, the most important first. A layer that was never seen to read anything is
    taken as it stands."""
    whole = weight.detach().double()
    if method == "fisher" and statistics is not None and statistics.fisher is not None:
        rows = statistics.fisher.double().sum(1)
        size = (rows / rows.mean().clamp(min=1e-30)).clamp(min=1e-6).sqrt()
        left, values, right = torch.linalg.svd(size[:, None] * whole, full_matrices=False)
        return Spectrum((left / size[:, None]).float(), values.float(), right.float())
    if method in ("felt", "whitened") and statistics is not None and statistics.gram is not None:
        gram = statistics.gram.double() / max(1, statistics.rows)
        gram += torch.eye(len(gram), dtype=gram.dtype, device=gram.device) * damping * gram.diagonal().mean()
        lower = torch.linalg.cholesky(gram)
        sides = torch.eye(len(whole), dtype=gram.dtype, device=gram.device)
        if method == "felt" and statistics.felt is not None:
            felt = statistics.felt.double()
            felt += torch.eye(len(felt), dtype=gram.dtype, device=gram.device) * 0.01 * felt.diagonal().mean()
            sides = torch.linalg.cholesky(felt).mT
        left, values, right = torch.linalg.svd(sides @ whole @ lower, full_matrices=False)
        left = torch.linalg.solve_triangular(sides, left, upper=True)
        right = torch.linalg.solve_triangular(lower, right, upper=False, left=False)
        return Spectrum(left.float(), values.float(), right.float())
    left, values, right = torch.linalg.svd(whole, full_matrices=False)
    return Spectrum(left.float(), values.float(), right.float())


def allocated(
    layers: Mapping[str, nn.Linear], spectra: Mapping[str, Spectrum], keep: float, multiple: int, comparable: bool
) -> dict[str, int]:
    """A rank for each layer so that together they hold `keep` of the parameters and lose least: singular values are
    taken in the order of what they save a parameter, values² / (O + I). Where values of different layers are not
    comparable, each layer's errors count as a share of its outputs' energy. Ranks grow in steps of `multiple`."""
    steps: list[tuple[float, str]] = []
    for path, layer in layers.items():
        energy = spectra[path].values.double().square()
        total = 1.0 if comparable else float(energy.sum().clamp(min=1e-30))
        shares = energy / total / (layer.in_features + layer.out_features)
        steps += [(float(part.mean()), path) for part in torch.split(shares, multiple)]
    budget = keep * sum(layer.weight.numel() for layer in layers.values())
    ranks = dict.fromkeys(layers, 0)
    whole = set()
    for _, path in sorted(steps, key=lambda each: (-each[0], each[1])):
        if path in whole:
            continue
        layer = layers[path]
        cost = multiple * (layer.in_features + layer.out_features)
        most = layer.weight.numel()
        if (ranks[path] + multiple) * (layer.in_features + layer.out_features) >= most:
            cost = most - ranks[path] * (layer.in_features + layer.out_features)  # whole from here on
        if cost > budget:
            continue
        budget -= cost
        ranks[path] += multiple
        if not _pays(layer, ranks[path]):
            whole.add(path)
    return {path: max(rank, multiple) for path, rank in ranks.items()}


def _even(layer: nn.Linear, keep: float, multiple: int) -> int:
    exact = keep * layer.weight.numel() / (layer.in_features + layer.out_features)
    return max(multiple, int(exact / multiple) * multiple)


def _pays(layer: nn.Linear, rank: int) -> bool:
    return rank * (layer.in_features + layer.out_features) < layer.weight.numel()


@torch.no_grad()
def _embeddings(change: Factorize, model: Model) -> None:
    """The token table becomes a narrow one and a projection, the vocabulary's matrix with it: the form of OPT-350M,
    which a config can say. The head projects with the same matrix, so that what was tied stays tied."""
    tables = [module for module in model.modules() if isinstance(module, TokenEmbedding)]
    heads = [module for module in model.modules() if isinstance(module, LanguageHead) and hasattr(module, "output")]
    if any(table.projection is not None for table in tables):
        raise DanluError("E2410")
    done: dict[int, tuple[nn.Parameter, Tensor]] = {}
    for table in tables:
        narrow, back = _table(change, table.tokens.weight, done)
        table.tokens = _embedding(narrow)
        table.projection = _linear(back.T)
    for head in heads:
        assert isinstance(head.output, nn.Linear)
        narrow, back = _table(change, head.output.weight, done)
        bias = head.output.bias
        head.output = _linear(narrow)
        head.output.weight = narrow
        head.output.bias = bias
        head.projection = _linear(back)


def _table(
    change: Factorize, weight: Tensor, done: dict[int, tuple[nn.Parameter, Tensor]]
) -> tuple[nn.Parameter, Tensor]:
    """A table (V, D) as a narrow one (V, R) and the way back (R, D), whose rows are orthonormal; the same for each
    place where the table stands. Tokens count alike: how often each occurs says little about the rare ones' worth."""
    if id(weight) not in done:
        vocabulary, width = weight.shape
        exact = change.keep * vocabulary * width / (vocabulary + width)
        rank = change.rank or max(change.multiple, int(exact / change.multiple) * change.multiple)
        gram = weight.detach().double().T @ weight.detach().double()
        back = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :rank].T.to(weight.dtype)
        done[id(weight)] = (nn.Parameter((weight.detach() @ back.T).contiguous()), back.contiguous())
    return done[id(weight)]


def _embedding(weight: nn.Parameter) -> nn.Embedding:
    made = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
    made.weight = weight
    return made


def _linear(weight: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    made.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight.contiguous().clone())
    return made
