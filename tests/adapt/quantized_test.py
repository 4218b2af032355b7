"""Coded bases: how near, how small, and how exactly they are trained on."""

import pytest
import torch
from stirring import answer, made
from torch import nn

from danlu.adapt import read_change
from danlu.adapt.quantized import Coding, coded, dense
from danlu.nn.quantized import QuantizedLinear

CODINGS: tuple[Coding, ...] = ("int8", "int4", "nf4")

WORST = {
    "int8": 0.5 / 127,
    "int4": 0.5 / 7,
    "nf4": 0.5 * 0.304,
}  # half a gap, of a group's largest weight; a scale has half precision


def linear(outputs: int = 24, inputs: int = 100) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs)


@pytest.mark.parametrize("coding", CODINGS)
def test_codes_stand_for_the_nearest_level(coding: Coding) -> None:
    plain = linear()
    layer = coded(plain, coding)
    weight = plain.weight.detach()
    gap = (dense(layer) - weight).abs()
    for start in range(0, 100, 64):
        group = weight[:, start : start + 64]
        assert (gap[:, start : start + 64] <= WORST[coding] * group.abs().amax(1, keepdim=True) * 1.1 + 1e-6).all()
    assert torch.equal(dense(coded(_with(plain, dense(layer)), coding)), dense(layer))  # and stays there


def _with(layer: nn.Linear, weight: torch.Tensor) -> nn.Linear:
    other = nn.Linear(layer.in_features, layer.out_features)
    other.weight = nn.Parameter(weight.clone())
    return other


def test_bytes_and_order_of_error() -> None:
    plain = linear(64, 256)
    found = {coding: coded(plain, coding) for coding in CODINGS}
    assert found["int8"].nbytes == 64 * 256 + 64 * 4 * 5
    assert found["int4"].nbytes == 64 * 128 + 64 * 4 * 5
    plain.weight.data.normal_()
    error = {coding: (dense(coded(plain, coding)) - plain.weight).square().mean() for coding in CODINGS}
    assert error["int8"] < error["nf4"] < error["int4"]  # normal weights suit NormalFloat


@pytest.mark.parametrize("coding", CODINGS)
def test_gradients_are_those_of_the_dense_weights(coding: Coding) -> None:
    layer = coded(linear(), coding)
    x = torch.randn(3, 5, 100, requires_grad=True)
    y = torch.randn(3, 5, 100)
    y.copy_(x.detach())
    y.requires_grad_()
    layer(x).square().sum().backward()
    nn.functional.linear(y, dense(layer), layer.bias).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert not [name for name, each in layer.named_parameters() if name != "bias" and each.requires_grad]


def test_half_precision_products() -> None:
    layer = coded(linear(), "int8")
    x = torch.randn(4, 100, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, dense(layer).sum(0).expand(4, -1), rtol=0.1, atol=0.05)


def test_a_change_codes_blocks_and_only_them() -> None:
    model = made("bert-tiny").model
    before = answer(model)
    read_change({"kind": "lora", "targets": ["query"], "base": "int8"}).apply(model)
    coded = {path for path, module in model.named_modules() if isinstance(module, QuantizedLinear)}
    assert all(".blocks." in path for path in coded)
    assert len(coded) == 2 * 6
    assert 0 < (answer(model) - before).abs().max() < 0.1
