"""Factorising: the best products there are, ranks that are worth their parameters, tables that stay tied."""

from pathlib import Path

import pytest
import torch
from shrinking import FAMILIES, batches, small, stirred, token_loss

from danlu.checkpoint import Checkpoint
from danlu.compress.calibration import Calibration, LayerStatistics, linear_layers
from danlu.compress.factorize import Factorize, spectrum
from danlu.compress.shapes import reshape, shapes_of, ties_of
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.nn.factorized import FactorizedLinear


def made(method: str, rank: int, weight: torch.Tensor, known: LayerStatistics) -> torch.Tensor:
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data = weight
    return spectrum(weight, known, method, 1e-8).factors(linear, rank).weight.detach()  # type: ignore[arg-type]


def test_each_way_is_best_by_its_own_measure() -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 40, generator=draw)
    x = torch.randn(500, 40, generator=draw) @ torch.randn(40, 40, generator=draw) * torch.rand(40, generator=draw)
    g = torch.randn(500, 30, generator=draw) @ torch.randn(30, 30, generator=draw) * torch.rand(30, generator=draw)
    known = LayerStatistics(500, gram=x.T @ x, fisher=torch.rand(30, 40, generator=draw) ** 8, felt=g.T @ g)
    rows = known.fisher.sum(1).sqrt()[:, None]
    measures = {
        "svd": lambda other: (weight - other).norm(),
        "whitened": lambda other: ((weight - other) @ x.T).norm(),
        "felt": lambda other: (torch.linalg.cholesky(g.T @ g).T @ (weight - other) @ x.T).norm(),
        "fisher": lambda other: (rows * (weight - other)).norm(),
    }
    products = {method: made(method, 8, weight, known) for method in measures}
    for method, measure in measures.items():
        errors = {other: float(measure(product)) for other, product in products.items()}
        assert min(errors, key=errors.__getitem__) == method, (method, errors)
    values = torch.linalg.svdvals(weight @ torch.linalg.cholesky((x.T @ x).double()).float())
    lost = float(values[8:].norm())  # what the theory says must be lost (Wang et al. 2024, theorem 3.2)
    assert float(measures["whitened"](products["whitened"])) == pytest.approx(lost, rel=0.01)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", ["felt", "whitened", "fisher", "svd"])
def test_every_family_is_factorised_and_read_back(name: str, method: str, tmp_path: Path) -> None:
    family, config = fresh(name, 96)
    some = batches(config)
    targets = ("attention", "mlp", "embeddings")
    model = Factorize(method=method, keep=0.5, multiple=4, targets=targets).apply(
        stirred(config), Calibration(some, token_loss)
    )  # fmt: skip
    assert any(isinstance(each, FactorizedLinear) for each in model.modules())
    Checkpoint(family, model.config, model.eval()).save(tmp_path / "model")
    again = Checkpoint.load(tmp_path / "model").model
    with torch.no_grad():
        assert torch.equal(model(**some[0].inputs), again(**some[0].inputs))
    if config.head.tied:
        assert model.head.output.weight is next(
            each.weight for each in model.modules() if isinstance(each, torch.nn.Embedding) and len(each.weight) == 96
        )


@pytest.mark.parametrize("allocation", ["together", "uniform"])
def test_so_many_parameters_stay(allocation: str) -> None:
    config = small("gpt2-tiny")
    model, some = stirred(config), batches(config)
    before = sum(each.weight.numel() for path, each in linear_layers(model).items() if ".blocks." in path)
    model = Factorize(keep=0.4, multiple=4, allocation=allocation).apply(model, Calibration(some, token_loss))
    after = sum(each.weight.numel() for path, each in linear_layers(model).items() if ".blocks." in path)
    assert 0.33 * before < after <= 0.4 * before


def test_ranks_go_where_they_are_worth_something() -> None:
    config = small("gpt2-tiny")
    model, some = stirred(config), batches(config)
    simple, rich = "tower.transformer.blocks.0.mlp.up", "tower.transformer.blocks.1.mlp.up"
    with torch.no_grad():
        up = model.get_submodule(simple).weight
        up.copy_(torch.outer(torch.randn(up.shape[0]), torch.randn(up.shape[1])))
        wanted = model(**some[0].inputs)
    model = Factorize(keep=0.4, multiple=4).apply(model, Calibration(some, token_loss))
    shapes = shapes_of(model)
    assert shapes[simple].rank < shapes[rich].rank  # type: ignore[attr-defined]
    errors = []
    for allocation in ("together", "uniform"):
        other = stirred(config)
        with torch.no_grad():
            other.get_submodule(simple).weight.copy_(up)
            other = Factorize(keep=0.4, multiple=4, allocation=allocation).apply(other, Calibration(some, token_loss))  # type: ignore[arg-type]
            errors.append(float((other(**some[0].inputs) - wanted).norm()))
    assert errors[0] < errors[1]


def test_shapes_of_factors_are_given_back() -> None:
    config = small("bert-tiny")
    model = Factorize(method="svd", rank=8, targets=("query",)).apply(stirred(config))
    assert set(shapes_of(model)) == {f"tower.transformer.blocks.{at}.attention.query" for at in (0, 1)}
    again = build(model.config, "meta")
    reshape(again, shapes_of(model), ties_of(model))
    assert [each.shape for each in again.parameters()] == [each.shape for each in model.parameters()]


def test_opt_says_narrow_tables_itself(tmp_path: Path) -> None:
    """The form of OPT-350M: transformers reads it."""
    transformers = pytest.importorskip("transformers")
    family, config = fresh("opt-tiny", 96)
    model = Factorize(method="svd", rank=16, targets=("embeddings",)).apply(stirred(config))
    Checkpoint(family, model.config, model.eval()).save(tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, rtol=1e-3, atol=1e-3)


def test_a_large_rank_leaves_layers_alone() -> None:
    config = small("bert-tiny")
    model = Factorize(method="svd", rank=128).apply(stirred(config))
    assert not shapes_of(model).keys() & {f"tower.transformer.blocks.0.attention.{each}" for each in ("query", "key")}


def test_what_cannot_be_done_is_said() -> None:
    config = small("bert-tiny")
    with pytest.raises(DanluError, match="E2401"):
        Factorize().apply(stirred(config))
    with pytest.raises(DanluError, match="E2409") as error:
        Factorize(method="svd", targets=("quary",)).apply(stirred(config))
    assert error.value.nearest == "query"
    once = Factorize(method="svd", rank=16, targets=("embeddings",)).apply(stirred(config))
    with pytest.raises(DanluError, match="E2410"):
        Factorize(method="svd", rank=8, targets=("embeddings",)).apply(once)
