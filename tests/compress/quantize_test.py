"""Codes of one layer against the papers' formulas written out, and of whole models against what they were."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.compress.balance import fold, pairs
from danlu.compress.calibration import Calibration
from danlu.compress.gptq import fitted_grid, gptq
from danlu.compress.hqq import half_quadratic
from danlu.compress.quantize import Quantize
from danlu.compress.sparsify import objective
from danlu.errors import DanluError
from danlu.models.build import Model, build
from danlu.models.families import FAMILIES
from danlu.nn.coding import grid
from danlu.nn.quantized import Codes

SHORT: dict[str, Any] = {"depth": 2, "width": 64, "heads": 4, "length": 64}


@dataclass
class Given:
    inputs: dict[str, Tensor]
    targets: dict[str, Tensor] = field(default_factory=dict)


def calibration(vocabulary: int, rows: int = 4, length: int = 32, seed: int = 5) -> Calibration:
    draw = torch.Generator().manual_seed(seed)
    batches = [Given({"tokens": torch.randint(vocabulary, (8, length), generator=draw)}) for _ in range(rows)]
    return Calibration(batches)


def model_of(family: str, **words: Any) -> Model:
    """Random weights of which none is zero, and channels of very different size, as trained models have them."""
    config = FAMILIES[family].make(**{**dict(FAMILIES[family].sizes["tiny"]), **SHORT, "vocabulary": 256, **words})
    model = build(config, seed=3).eval()
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.mul_(torch.randn(parameter.shape, generator=draw).exp())
            elif parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
            elif ".blocks." in name:
                parameter.mul_(3)
    return model


def layer_and_inputs(outputs: int = 48, inputs: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, its correlated inputs (R, I), and their Gram matrix."""
    draw = torch.Generator().manual_seed(0)
    mixing = torch.randn(inputs, inputs, generator=draw) / inputs**0.5 + torch.eye(inputs)
    x = torch.randn(512, inputs, generator=draw) @ mixing * torch.linspace(0.2, 3, inputs)
    return torch.randn(outputs, inputs, generator=draw), x, x.T @ x


def naive_gptq(weight: Tensor, gram: Tensor, on: Any, damping: float, ordered: bool) -> Tensor:
    """Frantar et al. 2023, eqs. 2 and 3, one weight at a time, H⁻¹ shrunk by Gaussian elimination."""
    made, hessian = weight.double().clone(), gram.double().clone()
    hessian += torch.eye(len(gram), dtype=torch.double) * damping * gram.double().diagonal().mean()
    order = gram.diagonal().argsort(descending=True, stable=True).tolist() if ordered else list(range(len(gram)))
    scale, zero = (each.double() for each in on.spread(weight.shape[1]))
    inverse, left = torch.linalg.inv(hessian), list(order)
    codes = torch.zeros_like(made)
    for column in order:
        codes[:, column] = (made[:, column] / scale[:, column] + zero[:, column]).round().clamp(on.least, on.most)
        error = made[:, column] - (codes[:, column] - zero[:, column]) * scale[:, column]
        left.remove(column)
        made[:, left] -= error[:, None] * inverse[column, left] / inverse[column, column]
        inverse = inverse - inverse[:, column, None] * inverse[None, column] / inverse[column, column]
    return codes.float()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("bits", "group", "symmetric"), [(4, 32, False), (3, None, True), (8, None, True)])
def test_gptq_reaches_the_reference_objective(bits: int, group: int | None, symmetric: bool, ordered: bool) -> None:
    weight, _, gram = layer_and_inputs()
    on = grid(weight, bits, group, symmetric)
    ours = objective(weight, on.values(gptq(weight, gram, on, 0.01, ordered)), gram)
    theirs = objective(weight, on.values(naive_gptq(weight, gram, on, 0.01, ordered)), gram)
    plain = objective(weight, on.rounded(weight), gram)
    assert ours == pytest.approx(theirs, rel=0.01)
    assert ours < 0.8 * plain


def test_the_objective_is_what_outputs_lose() -> None:
    weight, x, gram = layer_and_inputs()
    made = grid(weight, 4, 32).rounded(weight)
    assert objective(weight, made, gram) == pytest.approx(float((x @ (weight - made).T).square().sum()), rel=1e-4)


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weight, _, gram = layer_and_inputs()
    gram[7] = gram[:, 7] = 0
    on = grid(weight, 4, 32)
    codes = gptq(weight, gram, on)
    assert torch.isfinite(codes).all()
    assert objective(weight, on.values(codes), gram) < objective(weight, on.rounded(weight), gram)


def test_scales_that_fall_short_lose_less() -> None:
    weight, _, gram = layer_and_inputs()
    weight[::5, ::7] *= 4
    for symmetric in (True, False):
        fitted, plain = fitted_grid(weight, gram, 3, 40, symmetric), grid(weight, 3, 40, symmetric)
        assert fitted.scales.shape == (48, 3)
        diagonal = torch.block_diag(*(gram[at : at + 40, at : at + 40] for at in (0, 40, 80)))
        assert objective(weight, fitted.rounded(weight), diagonal) < 0.9 * objective(
            weight, plain.rounded(weight), diagonal
        )


@pytest.mark.parametrize("symmetric", [True, False])
def test_half_quadratic_fits_most_weights_better(symmetric: bool) -> None:
    weight, _, _ = layer_and_inputs()
    weight[::5, ::7] *= 4
    fitted, plain = half_quadratic(weight, 3, 32, symmetric), grid(weight, 3, 32, symmetric)
    error = [float((weight - on.rounded(weight)).abs().pow(0.7).sum()) for on in (fitted, plain)]
    assert error[0] < 0.97 * error[1]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_grids_reach_the_largest_weights(bits: int, symmetric: bool) -> None:
    weight, _, _ = layer_and_inputs()
    weight[0] = 0
    on = grid(weight, bits, 32, symmetric)
    scale, _ = on.spread(96)
    assert (
        (on.rounded(weight) - weight).abs() <= (0.51 if symmetric else 1.01) * scale
    ).all()  # a zero is a whole number
    assert torch.equal(on.scales, on.scales.half().float())
    assert (on.rounded(weight)[0] == 0).all()


# Whole models


CODED = (
    {"coding": "int8"}, {"coding": "int8", "inputs": "static"}, {"coding": "int4"},
    {"coding": "int4", "method": "gptq"}, {"coding": "int4", "method": "awq"}, {"coding": "int4", "method": "hqq"},
    {"coding": "int8", "method": "smoothquant", "inputs": "static"},
    {"coding": "int3", "method": "gptq", "balance": "awq", "group": 32},
    {"coding": "int4", "inputs": "float", "symmetric": True, "embeddings": "int4"},
)  # fmt: skip


@pytest.mark.parametrize("words", CODED, ids=lambda words: "-".join(map(str, words.values())))
def test_a_quantised_model_is_near_and_is_read_back(words: dict[str, Any], tmp_path: Path) -> None:
    model = model_of("gpt2")
    tokens = torch.randint(256, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(tokens)
        change = Quantize(**words)
        made = change.apply(model, calibration(256), seed=0)
        after = made(tokens)
    error = ((after - before).norm() / before.norm()).item()
    assert 0 < error < {"int8": 0.08, "int4": 0.3, "int3": 0.5}[change.coding]
    checkpoint = Checkpoint(FAMILIES["gpt2"], made.config, made, changes=(change.model_dump(mode="json"),))
    read = Checkpoint.load(checkpoint.save(tmp_path / "model"))
    assert read.replay().difference == 0
    with torch.no_grad():
        assert torch.equal(read.model(tokens), after)
    assert read.changes == checkpoint.changes
    assert read.model.head.output.codes is read.model.tower.embedding.tokens.codes


def test_what_becomes_codes_and_what_stays() -> None:
    model = Quantize(coding="int4", keep=("down",), embeddings="int8").apply(model_of("gpt2"))
    codings = {path: module.config.coding for path, module in model.named_modules() if isinstance(module, Codes)}
    assert codings["tower.transformer.blocks.0.attention.query"] == "int4"
    assert codings["head.output"] == codings["tower.embedding.tokens"] == "int8"
    assert not any(path.endswith("down") for path in codings)
    plain = Quantize(embeddings="none").apply(model_of("gpt2"))
    assert isinstance(plain.tower.embedding.tokens, nn.Embedding)
    assert plain.head.output.weight is plain.tower.embedding.tokens.weight


def test_files_are_as_small_as_said(tmp_path: Path) -> None:
    sizes = {}
    for coding in ("none", "int8", "int4"):
        model = model_of("gpt2", width=128, vocabulary=2048)
        if coding != "none":
            Quantize(coding=coding, embeddings=coding, group=64).apply(model)
        folder = Checkpoint(FAMILIES["gpt2"], model.config, model).save(tmp_path / coding)
        sizes[coding] = (folder / "model.safetensors").stat().st_size
    assert sizes["int8"] < 0.30 * sizes["none"]
    assert sizes["int4"] < 0.18 * sizes["none"]


@pytest.mark.parametrize("family", ["gpt2", "llama", "palm", "opt", "t5", "bart", "bert"])
def test_balancing_changes_nothing_by_itself(family: str) -> None:
    model = model_of(family)
    names = ("source", "target") if family in ("t5", "bart") else ("tokens",)
    inputs = {name: torch.randint(100, (2, 12), generator=torch.Generator().manual_seed(2)) for name in names}
    with torch.no_grad():
        before = model(**inputs)
        found = 0
        for _, block in list(model.named_modules()):
            for pair in pairs(block):
                found += 1
                fold(pair, block, torch.linspace(0.5, 2, block.get_parameter(f"{pair.readers[0]}.weight").shape[1]))
        after = model(**inputs)
    assert found
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4 * float(before.abs().max()))


@pytest.mark.parametrize(
    ("family", "method"), [("gpt2", "awq"), ("llama", "awq"), ("gpt2", "smoothquant"), ("gpt2", "gptq")]
)
def test_methods_beat_rounding(family: str, method: str) -> None:
    """At three bits, or with one scale for all inputs, on a model with channels of very different size."""
    words = {"inputs": "static"} if method == "smoothquant" else {"coding": "int3", "group": 32, "inputs": "float"}
    tokens = torch.randint(256, (8, 32), generator=torch.Generator().manual_seed(9))
    errors = []
    for each in ("rtn", method):
        model = model_of(family)
        with torch.no_grad():
            before = model(tokens)
            after = Quantize(method=each, embeddings="none", **words).apply(model, calibration(256))(tokens)
        errors.append((after - before).norm() / before.norm())
    assert errors[1] < 0.9 * errors[0]


def test_a_model_with_codes_and_missing_texts_are_refused() -> None:
    model = model_of("gpt2")
    with pytest.raises(DanluError, match="E2401"):
        Quantize(coding="int4", method="gptq").apply(model)
    with pytest.raises(DanluError, match="E2409"):
        Quantize(keep=("downn",)).apply(model)
    Quantize().apply(model)
    with pytest.raises(DanluError, match="E2408"):
        Quantize().apply(model)


def test_words_for_it() -> None:
    assert Quantize.short("int4") == {"coding": "int4"}
    assert Quantize(**Quantize.short("gptq")).needs
    assert not Quantize(**Quantize.short("int8")).needs
    assert Quantize(**Quantize.short("smoothquant")).coding == "int8"


# Perplexity of a small model that has learned something


@pytest.fixture(scope="module")
def reader() -> Iterator[tuple[Model, Callable[[Model], float], Calibration, Tensor]]:
    """A small GPT that has read a page of this file's kind of text, its loss on another page, and a third page."""
    text = "".join(
        path.read_text(encoding="utf8") for path in sorted(Path(torch.__file__).parent.glob("nn/modules/*.py"))
    )
    data = torch.tensor(list(text.encode("ascii", "replace")))
    draw = torch.Generator().manual_seed(0)
    model = build(FAMILIES["gpt2"].make(**{**dict(FAMILIES["gpt2"].sizes["tiny"]), **SHORT, "vocabulary": 256}))
    train, held = data[:-60_000], data[-60_000:]

    def rows(of: Tensor, count: int) -> Tensor:
        starts = torch.randint(len(of) - 65, (count,), generator=draw)
        return torch.stack([of[at : at + 65] for at in starts.tolist()])

    def loss(made: Model, batch: Tensor) -> Tensor:
        return nn.functional.cross_entropy(made(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())

    optimizer = torch.optim.AdamW(model.parameters(), 6e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss(model, rows(train, 24)).backward()
        optimizer.step()
    batch, known = rows(held, 192), Calibration([Given({"tokens": rows(train, 32)[:, :-1]}) for _ in range(4)])
    model.eval()
    with torch.no_grad():
        yield model, lambda made: float(loss(made, batch)), known, batch[:, :-1]


@torch.no_grad()
def test_less_is_lost_than_by_rounding(reader: Any) -> None:
    """In divergence from the model as it was; on so small a model perplexity itself moves up and down."""
    model, loss, known, held = reader
    assert loss(model) < 3.0  # 5.5 by chance
    answers = model(held).log_softmax(-1)
    lost = {}
    for method in ("rtn", "gptq"):
        words = {"coding": "int3", "group": 64, "embeddings": "none", "inputs": "float"}
        made = Quantize(method=method, **words).apply(copy.deepcopy(model), known)
        lost[method] = float(
            nn.functional.kl_div(made(held).log_softmax(-1), answers, log_target=True, reduction="sum")
        )
    assert lost["gptq"] < 0.5 * lost["rtn"], lost
