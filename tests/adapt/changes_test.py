"""What each kind adds, what it lets train, and what it refuses."""

import pytest
import torch
from stirring import FAMILIES, answer, made, stirred
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from danlu.adapt import KINDS, Addition, names, read_change, switch, trained, virtual_tokens
from danlu.adapt.changes import Lora
from danlu.adapt.layers import AdaptedLinear, LowRank
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh

PLAIN_AT_FIRST = ("lora", "dora", "ia3", "bottleneck")
NOTHING_TO_TRAIN = {("head", "gpt2-tiny"), ("head", "t5-tiny"), ("bitfit", "llama-tiny"), ("bitfit", "t5-tiny")}


def trains(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_trains_gets_a_gradient_and_nothing_else_does(kind: str, family: str) -> None:
    model, change = made(family).model, read_change(kind)
    before = answer(model)
    if (kind, family) in NOTHING_TO_TRAIN:
        with pytest.raises(DanluError, match="E2003"):
            change.apply(model)
        return
    change.apply(model)
    if kind in PLAIN_AT_FIRST:
        torch.testing.assert_close(answer(model), before, rtol=0, atol=1e-5)
    if kind in ("prefix", "prompt"):
        assert not torch.allclose(answer(model), before, atol=1e-3)
    stirred(model, only_trained=True)
    assert not torch.allclose(answer(model), before, atol=1e-3)
    tokens = torch.arange(6, 18).view(2, 6)
    logits = model(tokens, tokens) if family == "t5-tiny" else model(tokens)
    logits.square().sum().backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    unused = {name for name in trains(model) - moved if not name.startswith(("pairs.", "heads."))}
    assert moved <= trains(model)
    assert not unused


def test_the_parts_of_a_model_that_train() -> None:
    def found(data: object) -> set[str]:
        model = made("bert-tiny", depth=3).model
        read_change(data).apply(model)
        return trains(model)

    every = found("full")
    assert all(name.startswith("head.") for name in found("head"))
    top = found({"kind": "top", "layers": 1})
    assert {name for name in top if ".blocks." in name} == {name for name in every if ".blocks.2." in name}
    assert not [name for name in top if "embedding" in name]
    assert all(name.endswith(".bias") for name in found("bitfit"))
    assert len(found("bitfit")) > 20


def test_the_same_seed_adds_the_same_and_another_does_not() -> None:
    first, same, other = (made("gpt2-tiny").model for _ in range(3))
    for model, seed in ((first, 1), (same, 1), (other, 2)):
        read_change("lora").apply(model, seed)
    path = "tower.transformer.blocks.1.mlp.up.adapters.default.down"
    assert torch.equal(first.get_parameter(path), same.get_parameter(path))
    assert not torch.equal(first.get_parameter(path), other.get_parameter(path))


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({"targets": ["all"]}, {"query", "key", "value", "output", "up", "down"}),
        ({"targets": ["attention"]}, {"query", "key", "value", "output"}),
        ({"targets": ["query", "mlp"]}, {"query", "up", "down"}),
    ],
)
def test_targets(settings: dict[str, object], layers: set[str]) -> None:
    model = made("gpt2-tiny").model
    read_change({"kind": "lora", **settings}).apply(model)
    found = {path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, AdaptedLinear)}
    assert found == layers


def test_one_layer_of_one_block() -> None:
    model = made("gpt2-tiny").model
    read_change({"targets": ["blocks.1.mlp.up"]}).apply(model)
    (path,) = [path for path, module in model.named_modules() if isinstance(module, LowRank)]
    assert path == "tower.transformer.blocks.1.mlp.up.adapters.default"


def test_rank_scale_and_dropout_do_what_they_say() -> None:
    def layer(**settings: object) -> LowRank:
        model = made("gpt2-tiny").model
        read_change({"kind": "lora", **settings}).apply(model)
        part = model.get_submodule("tower.transformer.blocks.0.mlp.up.adapters.default")
        assert isinstance(part, LowRank)
        return part

    assert layer(rank=3).down.shape == (3, 32)
    assert layer(rank=4).scale == 2.0
    assert layer(rank=4, alpha=4).scale == 1.0
    assert layer(rank=4, alpha=4, root=True).scale == 2.0
    assert layer(dropout=0.5).dropout.p == 0.5
    change = Lora(ratio=16)
    model = made("gpt2-tiny").model
    change.apply(model)
    assert set(change.rates(model).values()) == {16.0}
    assert all(name.endswith(".up") for name in change.rates(model))
    assert not Lora().rates(model)


def test_also_trains_parts_as_they_are() -> None:
    model = made("bert-tiny").model
    read_change({"also": ["head", "attention_norm"]}).apply(model)
    found = {name for name in trains(model) if ".adapters." not in name}
    assert any(name.startswith("head.") for name in found)
    assert all(name.startswith("head.") or "attention_norm" in name for name in found)


@pytest.mark.parametrize(
    ("data", "code", "near"),
    [
        ({"targets": ["qurey"]}, "E2001", "query"),
        ({"also": ["atention_norm"]}, "E2001", "attention_norm"),
        ({"rank": 33}, "E2002", None),
        ({"kind": "bottleneck", "inner": 33}, "E2002", None),
        ({"targets": ["head.output"]}, "E2004", None),
        ({"kind": "prefix", "tokens": 48}, "E2008", None),
        ({"kind": "prompt", "tokens": 48}, "E2008", None),
    ],
)
def test_what_cannot_be_is_refused(data: dict[str, object], code: str, near: str | None) -> None:
    with pytest.raises(DanluError) as caught:
        read_change(data).apply(made("gpt2-tiny").model)
    assert caught.value.code == code
    assert caught.value.nearest == near


@pytest.mark.parametrize(
    ("data", "near"), [("loar", "lora"), ({"kind": "qq"}, None), ({"kind": "lora", "rank": 0}, None)]
)
def test_unknown_kinds(data: object, near: str | None) -> None:
    with pytest.raises(DanluError) as caught:
        read_change(data)
    assert caught.value.code == "E2009"
    assert caught.value.nearest == near


def test_grouped_heads_take_adapters_of_their_own_width() -> None:
    model = made("llama-tiny").model  # four query heads share two of keys and values
    for kind in ("lora", "ia3", "prefix"):
        read_change(kind).apply(model, name=kind)
    block = "tower.transformer.blocks.0.attention"
    assert model.get_parameter(f"{block}.key.adapters.lora.up").shape == (16, 8)
    assert model.get_parameter(f"{block}.query.adapters.lora.up").shape == (32, 8)
    assert model.get_parameter(f"{block}.value.adapters.ia3.factor").shape == (16,)
    assert model.get_parameter(f"{block}.prefixes.adapters.prefix.key").shape == (2, 16, 8)


def test_several_adapters_take_turns() -> None:
    model = made("bert-tiny").model
    plain = answer(model)
    answers = {}
    for seed, (name, data) in enumerate({"a": "lora", "b": {"kind": "ia3"}, "c": "prefix", "d": "prompt"}.items()):
        switch(model, None)
        read_change(data).apply(model, name=name)
        stirred(model, only_trained=True, seed=seed)
        answers[name] = answer(model)
    assert names(model) == ["a", "b", "c", "d"] or set(names(model)) == set("abcd")
    for name, expected in answers.items():
        switch(model, name)
        assert torch.equal(answer(model), expected)
        assert virtual_tokens(model) == (16 if name in "cd" else 0)
    switch(model, None)
    assert torch.equal(answer(model), plain)
    with pytest.raises(DanluError, match="E2012"):
        switch(model, "e")
    with pytest.raises(DanluError, match="E2011"):
        read_change("lora").apply(model, name="a")


def work(data: object, depth: int = 4) -> int:
    """Floating-point operations of a forward and a backward pass."""
    _, config = fresh("bert-tiny", 99, width=32, heads=4, depth=depth)
    model = build(config)
    read_change(data).apply(model)
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.arange(64).view(4, 16) + 5).sum().backward()
    return counter.get_total_flops()


def test_no_backward_work_where_nothing_trains() -> None:
    full, lora = work("full"), work({"kind": "lora", "rank": 1})
    assert lora < 0.75 * full  # no gradients of frozen weights: a third of a step, but for the thin products
    assert work("head") < work({"kind": "top", "layers": 1}) < work({"kind": "top", "layers": 3}) < full
    high = work({"kind": "lora", "rank": 1, "targets": ["blocks.3.mlp.down"]})
    low = work({"kind": "lora", "rank": 1, "targets": ["blocks.0.mlp.down"]})
    assert high < 0.7 * low  # below the lowest adapter no gradient is asked for


def test_counts_of_what_trains_and_the_memory_it_takes() -> None:
    model = made("bert-tiny").model
    whole = trained(model)
    assert whole.share == 1.0
    assert whole.memory == 16 * whole.all
    change = read_change({"kind": "lora", "rank": 2, "targets": ["query"]})
    assert isinstance(change, Addition)
    change.apply(model)
    part = trained(model)
    assert part.trains == 2 * 2 * (32 + 32)
    assert part.memory == 16 * part.trains + 4 * whole.all
    _, config = fresh("bert-tiny", 99, width=32, heads=4, length=48)
    coded = build(config)
    read_change({"kind": "lora", "base": "int4"}).apply(coded)
    dense = build(config)
    read_change("lora").apply(dense)
    assert trained(coded).all == trained(dense).all
    assert trained(coded).memory < trained(dense).memory
