"""Pruning: against formulas written out naively, and what each setting does."""

from pathlib import Path
from typing import Any

import pytest
import torch
from shrinking import FAMILIES, batches, given, small, stirred, token_loss
from torch import Tensor

from danlu.checkpoint import Checkpoint
from danlu.compress.calibration import Calibration, LayerStatistics, linear_layers
from danlu.compress.movement import ScoredLinear, highest, score, settled
from danlu.compress.prune import Prune
from danlu.compress.shapes import reshape, shapes_of, ties_of
from danlu.compress.sparsify import magnitude, objective, sparse_gpt, wanda
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh

Words = dict[str, Any]


def layer(inputs: int = 96, outputs: int = 40, rows: int = 400) -> tuple[Tensor, Tensor]:
    """Weights, and correlated inputs some of which are large."""
    draw = torch.Generator().manual_seed(0)
    mix = torch.randn(inputs, inputs, generator=draw) / inputs**0.5
    size = torch.exp(torch.randn(inputs, generator=draw))
    x = torch.randn(rows, inputs, generator=draw) @ mix * size
    return torch.randn(outputs, inputs, generator=draw), x


def seen(x: Tensor) -> LayerStatistics:
    return LayerStatistics(len(x), gram=x.T @ x, norms=x.norm(dim=0))


def naive_sparse_gpt(weight: Tensor, gram: Tensor, share: float, damping: float, block: int) -> Tensor:
    """Frantar and Alistarh 2023 by the definition: after each column the inverse of what is left of H, made anew."""
    w, h = weight.double().clone(), gram.double().clone()
    h += torch.eye(len(h), dtype=h.dtype) * damping * h.diagonal().mean()
    columns = w.shape[1]
    for start in range(0, columns, block):
        end = min(start + block, columns)
        inverses = {at: torch.linalg.inv(h[at:, at:]) for at in range(start, end)}
        losses = torch.stack([w[:, at] ** 2 / inverses[at][0, 0] for at in range(start, end)], 1)
        gone = torch.zeros(losses.numel(), dtype=torch.bool)
        gone[losses.flatten().argsort(stable=True)[: int(losses.numel() * share)]] = True
        gone = gone.view_as(losses)
        for at in range(start, end):
            error = torch.where(gone[:, at - start], w[:, at], 0.0)
            inverse = inverses[at]
            w[:, at:] -= torch.outer(error / inverse[0, 0], inverse[0])
            w[gone[:, at - start], at] = 0
    return w.float()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_sparse_gpt_is_what_its_definition_says(share: float) -> None:
    weight, x = layer()
    ours = sparse_gpt(weight, seen(x), share)
    theirs = naive_sparse_gpt(weight, x.T @ x, share, 0.01, 128)
    gram = x.T @ x
    assert objective(weight, ours, gram) == pytest.approx(objective(weight, theirs, gram), rel=0.01)
    assert float((ours == 0).float().mean()) == pytest.approx(share, abs=0.01)


def test_wanda_is_its_formula() -> None:
    weight, x = layer()
    ours = wanda(weight, seen(x), 0.5)
    metric = weight.abs() * x.norm(dim=0)
    theirs = weight.clone()
    theirs.scatter_(1, metric.sort(dim=1, stable=True).indices[:, : weight.shape[1] // 2], 0)
    assert torch.equal(ours, theirs)
    assert objective(weight, ours, x.T @ x) == pytest.approx(float(((weight - theirs) @ x.T).square().sum()), rel=0.01)


def test_what_looks_at_inputs_loses_less() -> None:
    weight, x = layer()
    gram, known = x.T @ x, seen(x)
    lost = [objective(weight, each, gram) for each in
            (magnitude(weight, 0.5), wanda(weight, known, 0.5), sparse_gpt(weight, known, 0.5))]  # fmt: skip
    assert lost[2] < 0.9 * lost[1] < 0.9 * lost[0]
    assert lost[2] < 0.7 * lost[0]


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_patterns_leave_n_of_m(method: str) -> None:
    weight, x = layer()
    ways = {"magnitude": lambda: magnitude(weight, 0.9, (2, 4)), "wanda": lambda: wanda(weight, seen(x), 0.9, (2, 4)),
            "sparsegpt": lambda: sparse_gpt(weight, seen(x), 0.9, (2, 4))}  # fmt: skip
    assert bool(((ways[method]() != 0).view(40, -1, 4).sum(-1) == 2).all())


def test_inputs_that_never_came_do_no_harm() -> None:
    weight, x = layer()
    x[:, 5] = 0
    made = sparse_gpt(weight, seen(x), 0.5)
    assert bool(made.isfinite().all())
    assert not made[:, 5].any()


@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_weights_of_blocks_become_zero(method: str) -> None:
    config = small("gpt2-tiny")
    model, some = stirred(config), batches(config)
    table = model.tower.embedding.tokens.weight.clone()
    Prune(method=method, share=0.6).apply(model, Calibration(some))
    for path, each in linear_layers(model).items():
        zeros = float((each.weight == 0).float().mean())
        assert zeros == pytest.approx(0.6 if ".blocks." in path else 0.0, abs=0.02), path
    assert torch.equal(model.tower.embedding.tokens.weight, table)


CUTS: list[Words] = [
    {"part": "heads"}, {"part": "heads", "method": "magnitude"}, {"part": "heads", "method": "fisher"},
    {"part": "units", "multiple": 8}, {"part": "units", "method": "activation", "multiple": 8, "uneven": True},
    {"part": "layers"}, {"part": "layers", "method": "even"}, {"part": "width", "multiple": 16},
    {"part": "width", "multiple": 16, "method": "magnitude"},
]  # fmt: skip


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: " ".join(map(str, cut.values())))
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_cut_and_can_be_built_again(name: str, cut: Words) -> None:
    config = small(name)
    model, some = stirred(config), batches(config)
    before = sum(each.numel() for each in model.parameters())
    model = Prune(**cut).apply(model, Calibration(some, token_loss))
    shapes = {path: tuple(each.shape) for path, each in model.named_parameters()}
    assert sum(each.numel() for each in model.parameters()) < before
    again = build(model.config, "meta")
    reshape(again, shapes_of(model), ties_of(model))
    assert {path: tuple(each.shape) for path, each in again.named_parameters()} == shapes
    with torch.no_grad():
        assert model(**some[0].inputs).shape[-1] == config.vocabulary


def test_what_is_cut_out_is_what_was_nothing() -> None:
    """Units, heads, channels and layers that do nothing go first, and the model computes what it did."""
    config = small("gpt2-tiny", heads=4)
    model, some = stirred(config), batches(config)
    block = model.tower.transformer.blocks
    with torch.no_grad():
        for each in block:
            each.mlp.down.weight[:, ::2] = 0
            each.attention.output.weight.view(128, 4, 32)[:, 1:3] = 0
        before = model(**some[0].inputs)
        for part in ("units", "heads"):
            for method in ("taylor", "activation", "fisher", "magnitude"):
                own = stirred(config)
                own.load_state_dict(model.state_dict())
                own = Prune(part=part, method=method, share=0.5, refit=False).apply(own, Calibration(some, token_loss))
                torch.testing.assert_close(own(**some[0].inputs), before, rtol=1e-3, atol=1e-3)


def test_a_fit_makes_good_for_what_is_gone() -> None:
    config = small("bert-tiny")
    some = batches(config, 4)
    lost = []
    with torch.no_grad():
        wanted = stirred(config)(**some[0].inputs)
        for refit in (True, False):
            model = Prune(part="units", method="activation", share=0.5, refit=refit, multiple=8).apply(
                stirred(config), Calibration(some)
            )
            lost.append(float((model(**some[0].inputs) - wanted).norm()))
    assert lost[0] < 0.95 * lost[1]


def test_uneven_layers_keep_numbers_of_their_own() -> None:
    config = small("gpt2-tiny")
    model, some = stirred(config), batches(config)
    with torch.no_grad():
        model.tower.transformer.blocks[0].mlp.down.weight *= 0.01
    model = Prune(part="units", method="activation", uneven=True, multiple=8).apply(model, Calibration(some))
    widths = [each.mlp.up.out_features for each in model.tower.transformer.blocks]
    assert widths[0] < widths[1]
    wanted = {f"tower.transformer.blocks.{at}.mlp" for at, width in enumerate(widths) if width != 512}
    assert set(shapes_of(model)) == wanted != set()


def test_heads_that_share_keys_go_together() -> None:
    config = small("llama-tiny", heads=8, kv_heads=4)
    some = batches(config)
    model = Prune(part="heads", method="activation", share=0.5).apply(stirred(config), Calibration(some))
    attention = model.tower.transformer.blocks[0].attention
    assert (attention.heads, attention.kv_heads) == (4, 2)
    with pytest.raises(DanluError, match="E2406") as error:
        Prune(part="heads", method="activation", keep=5).apply(stirred(config), Calibration(some))
    assert error.value.nearest == "4"


def test_one_key_head_loses_queries_alone() -> None:
    config = small("palm-tiny", heads=4)
    model = Prune(part="heads", method="magnitude", share=0.5).apply(stirred(config))
    attention = model.tower.transformer.blocks[0].attention
    assert (attention.heads, attention.kv_heads) == (2, 1)


def test_a_shared_bias_loses_the_same_heads() -> None:
    config = small("t5-tiny", heads=4)
    some = batches(config)
    model = stirred(config)
    table = model.encoder.transformer.relative_bias.table.weight.detach().clone()
    model = Prune(part="heads", method="activation", share=0.5).apply(model, Calibration(some))
    left = model.encoder.transformer.relative_bias.table.weight
    assert left.shape == (table.shape[0], 2)
    assert all(any(torch.equal(column, old) for old in table.T) for column in left.T)


def test_layers_that_matter_least_go(tmp_path: Path) -> None:
    config = small("bert-tiny", depth=4)
    model, some = stirred(config), batches(config)
    second = model.tower.transformer.blocks[2]
    with torch.no_grad():
        for part in (second.attention.output, second.mlp.down):
            part.weight.zero_()
            part.bias.zero_()
    others = [model.tower.transformer.blocks[at] for at in (0, 1, 3)]
    model = Prune(part="layers", keep=3).apply(model, Calibration(some, token_loss))
    assert [each in others for each in model.tower.transformer.blocks] == [True] * 3
    assert model.config.transformer.depth == 3


PUBLISHED: list[tuple[str, Words]] = [
    ("bert-tiny", {"part": "units"}), ("bert-tiny", {"part": "layers"}), ("gpt2-tiny", {"part": "units"}),
    ("llama-tiny", {"part": "heads"}), ("llama-tiny", {"part": "width"}), ("t5-tiny", {"part": "heads"}),
    ("gpt2-tiny", {"part": "weights", "method": "magnitude"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cut"), PUBLISHED, ids=str)
def test_transformers_reads_what_its_config_can_say(name: str, cut: Words, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    family, config = fresh(name, 96)
    some = batches(config)
    cut = {"method": "activation"} | cut if cut["part"] != "weights" else cut
    model = Prune(**cut).apply(stirred(config), Calibration(some, token_loss))
    Checkpoint(family, model.config, model).save(tmp_path / "model")
    auto = "AutoModelForMaskedLM" if name.startswith("bert") else (
        "AutoModelForSeq2SeqLM" if name.startswith("t5") else "AutoModelForCausalLM"
    )  # fmt: skip
    theirs = getattr(transformers, auto).from_pretrained(tmp_path / "model").eval()
    inputs = given(config)
    with torch.no_grad():
        if name.startswith("t5"):
            logits = theirs(input_ids=inputs["source"], decoder_input_ids=inputs["target"]).logits
        else:
            logits = theirs(input_ids=inputs["tokens"]).logits
        torch.testing.assert_close(model(**inputs), logits, rtol=1e-3, atol=1e-3)


def test_what_no_class_can_say_is_kept_under_our_names(tmp_path: Path) -> None:
    family, config = fresh("bert-tiny", 96)
    model = Prune(part="heads", method="activation").apply(stirred(config), Calibration(batches(config)))
    Checkpoint(family, model.config, model, changes=({"kind": "prune"},)).save(tmp_path / "model")
    again = Checkpoint.load(tmp_path / "model")
    assert again.changes == ({"kind": "prune"},)
    assert again.replay().holds
    inputs = given(config)
    with torch.no_grad():
        assert torch.equal(model(**inputs), again.model(**inputs))


def test_movement_prunes_what_learning_makes_small() -> None:
    torch.manual_seed(0)
    holder = torch.nn.Module()
    holder.blocks = torch.nn.ModuleList([torch.nn.ModuleDict({"up": torch.nn.Linear(8, 1, bias=False)})])
    wrapped = torch.nn.ModuleDict({"x": holder})
    with torch.no_grad():
        holder.blocks[0]["up"].weight.copy_(torch.tensor([[1.0] * 4 + [0.5] * 4]))
    score(wrapped, 0.5)
    layer = holder.blocks[0]["up"]
    assert isinstance(layer, ScoredLinear)
    learner = torch.optim.SGD([{"params": [layer.weight], "lr": 0.05}, {"params": [layer.scores], "lr": 1.0}], lr=0.1)
    wanted = torch.tensor([0.0] * 4 + [1.0] * 4)  # the large weights have to become small
    for _ in range(100):
        x = torch.randn(64, 8)
        learner.zero_grad()
        (layer(x)[:, 0] - x @ wanted).square().mean().backward()
        learner.step()
    settled(wrapped)
    made = holder.blocks[0]["up"].weight[0]
    assert bool((made[:4] == 0).all())
    assert bool((made[4:] != 0).all())


def test_scores_keep_the_highest() -> None:
    assert highest(torch.tensor([[3.0, 1.0], [2.0, 4.0]]), 0.5).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("words", "code"),
    [({"method": "wanda"}, "E2401"), ({"part": "units"}, "E2401"), ({"method": "movement"}, "E2405"),
     ({"part": "vocabulary"}, "E2405"), ({"part": "width", "keep": 128, "method": "magnitude"}, "E2407")],
)  # fmt: skip
def test_what_cannot_be_done_is_said(words: Words, code: str) -> None:
    with pytest.raises(DanluError, match=code):
        Prune(**words).apply(stirred(small("bert-tiny")))
