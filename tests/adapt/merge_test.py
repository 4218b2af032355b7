"""Merged = adapted, and back to the same bits."""

import pytest
import torch
from stirring import FAMILIES, answer, made, stirred
from torch import nn

from danlu.adapt import detach, merge, read_change, switch
from danlu.adapt.layers import AdaptedLinear
from danlu.adapt.quantized import QuantizedLinear
from danlu.errors import DanluError
from danlu.nn.adapters import Adapters

MERGED = [
    {"kind": "lora"}, {"kind": "lora", "root": True, "rank": 3}, {"kind": "dora", "targets": ["attention"]},
    {"kind": "ia3"}, {"kind": "lora", "base": "int8"}, {"kind": "dora", "base": "nf4"},
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("data", MERGED, ids=str)
def test_merging_and_undoing_it(data: dict[str, object], family: str) -> None:
    model = made(family).model
    read_change(data).apply(model)
    stirred(model, only_trained=True)
    adapted = answer(model)
    merged = merge(model)
    scale = max(1.0, float(adapted.abs().max()))
    assert (answer(model) - adapted).abs().max() <= 1e-5 * scale
    assert not [each for each in model.modules() if isinstance(each, (Adapters, QuantizedLinear))]
    merged.undo()
    assert torch.equal(answer(model), adapted)
    assert [each for each in model.modules() if isinstance(each, AdaptedLinear)]


def test_what_was_below_is_untouched() -> None:
    model = made("gpt2-tiny").model
    plain, weights = answer(model), {name: p.clone() for name, p in model.named_parameters()}
    for name in ("a", "b"):
        read_change("lora").apply(model, name=name)
        stirred(model, only_trained=True)
    merge(model).undo()
    switch(model, None)
    assert torch.equal(answer(model), plain)
    detach(model)
    assert dict.fromkeys(weights, True) == {name: torch.equal(p, weights[name]) for name, p in model.named_parameters()}


def test_an_inactive_adapter_is_not_merged() -> None:
    model = made("gpt2-tiny").model
    plain = answer(model)
    read_change("lora").apply(model)
    stirred(model, only_trained=True)
    switch(model, None)
    merge(model)
    assert torch.equal(answer(model), plain)


@pytest.mark.parametrize("kind", ["bottleneck", "prefix", "prompt"])
def test_what_no_plain_model_computes_is_refused(kind: str) -> None:
    model = made("bert-tiny").model
    read_change(kind).apply(model)
    with pytest.raises(DanluError, match="E2007"):
        merge(model)
    detach(model)
    assert all(isinstance(each, nn.Linear) for name, each in model.named_modules() if name.endswith("mlp.down"))
