"""Layers of codes: what they compute, with and without gradients, in which dtype, and from which file."""

import pytest
import torch
from torch import nn

from danlu.kernels.products import round_inputs
from danlu.nn.coding import nearest
from danlu.nn.quantized import QuantizedConfig, QuantizedEmbedding, QuantizedLinear, code_names, quantized


def made(**words: object) -> tuple[nn.Linear, QuantizedLinear]:
    torch.manual_seed(0)
    linear = nn.Linear(100, 70)
    return linear, QuantizedLinear.of(linear, QuantizedConfig(**words))  # type: ignore[arg-type]


@pytest.mark.parametrize("words", [{}, {"coding": "int4", "group": 32}, {"coding": "int3", "group": 16}])
def test_one_product_with_and_without_gradients(words: dict[str, object]) -> None:
    _, layer = made(**words)
    x = torch.randn(2, 3, 100)
    with torch.no_grad():
        fast = layer(x)
    slow = layer(x.requires_grad_())
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    slow.square().sum().backward()
    y = round_inputs(x.detach(), layer.group).requires_grad_()
    nn.functional.linear(y, layer.dense(), layer.bias).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-4)
    assert layer.bias.grad is not None
    assert layer.codes.grad is None


def test_inputs_may_stay_as_they_are() -> None:
    linear, layer = made(inputs="float")
    x = torch.randn(5, 100)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.dense(), linear.bias))
    assert (layer(x) - QuantizedLinear.of(linear, QuantizedConfig())(x)).abs().max() > 1e-4


@pytest.mark.parametrize("coding", ["int8", "int4", "int3", "nf4"])
def test_tables_give_the_rows_of_their_weights(coding: str) -> None:
    table = nn.Embedding(130, 40)
    layer = QuantizedEmbedding.of(table, QuantizedConfig(coding=coding, group=16))  # type: ignore[arg-type]
    numbers = torch.tensor([[0, 1, 63], [64, 100, 129]])
    assert torch.equal(layer(numbers), layer.weight[numbers])
    assert (layer.weight - table.weight).abs().max() < {"int8": 0.02, "int4": 0.3, "int3": 0.7, "nf4": 0.5}[coding]


def test_casting_leaves_scales_alone() -> None:
    _, layer = made()
    before = layer.dense()
    layer.to(torch.bfloat16)
    assert layer.scales.dtype == torch.float32
    assert layer.codes.dtype == torch.uint8
    assert layer.bias is not None
    assert layer.bias.dtype == torch.bfloat16
    assert torch.equal(layer.dense(), before)
    assert layer(torch.randn(1, 100, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_autocast_and_compile_go_through() -> None:
    _, layer = made()
    x = torch.randn(4, 100)
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), layer(x))


def test_codes_are_told_apart_from_what_trains() -> None:
    _, layer = made()
    model = nn.Sequential(layer, nn.ReLU())
    assert code_names(model) == {"0.codes", "0.scales", "0.zeros"}
    assert quantized(model)
    assert not quantized(nn.Linear(2, 2))


def test_sizes_are_counted() -> None:
    weight = torch.randn(64, 256)
    assert nearest(weight, "int4", 64).nbytes == 64 * 128 + 64 * 4 * 5
    assert nearest(weight, "int8", None).nbytes == 64 * 256 + 64 * 5
