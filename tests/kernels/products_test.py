"""Products of codes: every path of this processor against the portable one and against torch, and torch.compile."""

import itertools
import subprocess
import sys
import warnings

import pytest
import torch

from danlu.kernels import ACTIVATIONS, Coded, dense, linear, native, pack, status, unpack
from danlu.kernels.products import _announce, layer_of, round_inputs
from danlu.nn.mlp import ACTIVATIONS as TORCH_ACTIVATIONS

needs_native = pytest.mark.skipif(native() is None, reason=status()[1])
PATHS = list(native().paths) if native() else []
# outputs, inputs, bits, group, rows: whole and odd, one block and several, few rows and many
SHAPES = (
    (64, 64, 8, 64, 1), (70, 100, 8, 104, 5), (130, 96, 4, 32, 7), (3, 8, 4, 8, 13), (257, 300, 4, 128, 49),
    (64, 768, 8, 768, 6), (1, 17, 8, 24, 2), (65, 40, 4, 16, 4), (128, 256, 8, 64, 97),
)  # fmt: skip


def made(outputs: int, inputs: int, bits: int, group: int, seed: int = 0) -> tuple[Coded, torch.Tensor]:
    """Codes that reach both ends, and the weights they stand for, (O, I) float64."""
    draw = torch.Generator().manual_seed(seed)
    groups = -(-inputs // group)
    codes = torch.randint(int(bits == 8), 2**bits, (outputs, inputs), generator=draw)
    scales = torch.rand(outputs, groups, generator=draw) * 0.01
    zeros = torch.randint(0, 2**bits, (outputs, groups), generator=draw)
    spread = [each.repeat_interleave(group, 1)[:, :inputs].double() for each in (scales, zeros)]
    return pack(codes, scales, zeros, group, bits), (codes - spread[1]) * spread[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_packing_is_undone(shape: tuple[int, int, int, int, int]) -> None:
    outputs, inputs, bits, group, _ = shape
    draw = torch.Generator().manual_seed(1)
    codes = torch.randint(1, 2**bits, (outputs, inputs), generator=draw).to(torch.uint8)
    scales = torch.rand(outputs, -(-inputs // group), generator=draw)
    zeros = torch.randint(0, 2**bits, scales.shape, generator=draw).to(torch.uint8)
    coded = pack(codes, scales, zeros, group, bits)
    assert coded.bits == bits
    assert all(map(torch.equal, unpack(coded), (codes, scales, zeros)))


def test_groups_that_hold_no_input_are_refused() -> None:
    with pytest.raises(ValueError, match="do not hold"):
        pack(torch.zeros(4, 16), torch.ones(4, 3), torch.zeros(4, 3), 8, 4)


@needs_native
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("path", PATHS)
def test_paths_agree_to_the_bit(path: str, shape: tuple[int, int, int, int, int]) -> None:
    kernels = native()
    assert kernels
    outputs, inputs, bits, group, rows = shape
    coded, weight = made(outputs, inputs, bits, group)
    x, bias = 3 * torch.randn(rows, inputs), torch.randn(outputs)
    found = {}
    for name in ("portable", path):
        found[name] = torch.empty(rows, outputs)
        kernels.linear(layer_of(coded, bias), x, found[name], kernels.paths[name])
    assert torch.equal(found[path], found["portable"])
    exact = round_inputs(x, group).double() @ weight.T + bias
    assert (found[path] - exact).abs().max() <= 2e-6 * exact.abs().max()
    weights = torch.empty(outputs, inputs)
    kernels.dense(layer_of(coded), None, weights, kernels.paths[path])
    torch.testing.assert_close(weights, weight.float())


@needs_native
@pytest.mark.parametrize(("path", "bits"), list(itertools.product(PATHS, (4, 8))))
def test_largest_codes_do_not_overflow(path: str, bits: int) -> None:
    """All codes and inputs at their ends: sums of two products beyond sixteen bits would be cut off."""
    kernels = native()
    assert kernels
    for code, zero in ((2**bits - 1, 0), (int(bits == 8), 2**bits - 1)):
        coded = pack(torch.full((64, 512), code), torch.ones(64, 1), torch.full((64, 1), zero), 512, bits)
        for sign in (1.0, -1.0):
            y = torch.empty(3, 64)
            kernels.linear(layer_of(coded), torch.full((3, 512), sign * 127), y, kernels.paths[path])
            assert (y == sign * 127 * 512 * (code - zero)).all()


@needs_native
@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
@pytest.mark.parametrize("path", PATHS)
def test_activations_are_torch_s(path: str, activation: str) -> None:
    kernels = native()
    assert kernels
    coded, _ = made(64, 64, 8, 64)
    x = 20 * torch.randn(32, 64)
    plain, active = torch.empty(32, 64), torch.empty(32, 64)
    kernels.linear(layer_of(coded), x, plain, kernels.paths[path])
    kernels.linear(layer_of(coded, activation=activation), x, active, kernels.paths[path])
    assert plain.abs().max() > 20
    expected = TORCH_ACTIVATIONS[activation](plain)  # type: ignore[index]
    torch.testing.assert_close(active, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_torch_computes_the_same_numbers(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    coded, _ = made(70, 100, bits, 32)
    x, bias = torch.randn(2, 5, 100), torch.randn(70)
    for scale in (0.0, 0.03):
        ours, weights = linear(x, coded, bias, scale), dense(coded)
        with monkeypatch.context() as patch:
            patch.setattr("danlu.kernels.products.native", lambda: None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                other = linear(x, coded, bias, scale)
            torch.testing.assert_close(other, ours, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(dense(coded), weights)


def test_a_measured_scale_cuts_inputs_off() -> None:
    coded, weight = made(64, 64, 8, 64)
    x = torch.randn(4, 64)
    y = linear(x, coded, input_scale=0.5 / 127)
    expected = round_inputs(x, 64, 0.5 / 127)
    assert expected.abs().max() <= 0.5 + 1e-6
    torch.testing.assert_close(y, (expected.double() @ weight.T).float(), rtol=1e-5, atol=1e-5)


def test_what_is_no_number_stays_so() -> None:
    coded, _ = made(64, 40, 8, 40)
    for odd in (float("nan"), float("inf")):
        x = torch.randn(3, 40)
        x[1, 37] = odd
        y = linear(x, coded)
        assert y[1].isnan().all()
        assert y[[0, 2]].isfinite().all()


def test_biases_of_another_dtype_are_read() -> None:
    coded, _ = made(64, 64, 8, 64)
    x, bias = torch.randn(3, 64), torch.randn(64).bfloat16()
    assert torch.equal(linear(x, coded, bias), linear(x, coded, bias.float()))


def test_rows_of_zeros_and_no_rows() -> None:
    coded, _ = made(64, 40, 8, 40)
    assert (linear(torch.zeros(3, 40), coded) == 0).all()
    assert linear(torch.zeros(0, 40), coded).shape == (0, 64)


def test_threads_do_not_change_a_bit() -> None:
    coded, _ = made(200, 300, 4, 128)
    x = torch.randn(61, 300)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = linear(x, coded), linear(x[:1], coded)
        torch.set_num_threads(3)
        assert all(map(torch.equal, one, (linear(x, coded), linear(x[:1], coded))))
    finally:
        torch.set_num_threads(before)


def test_dtypes_come_back() -> None:
    coded, _ = made(64, 64, 8, 64)
    x = torch.randn(2, 64)
    assert linear(x.bfloat16(), coded).dtype == torch.bfloat16
    torch.testing.assert_close(
        linear(x.bfloat16(), coded).float(), linear(x.bfloat16().float(), coded), rtol=1e-2, atol=1e-2
    )


def test_the_operator_keeps_torch_s_rules() -> None:
    coded, _ = made(70, 100, 4, 32)
    arguments = (torch.randn(2, 3, 100), coded.codes, coded.scales, coded.zeros, torch.randn(70), 70, 100, 32, 0.0)
    torch.library.opcheck(torch.ops.danlu.linear.default, arguments, test_utils=("test_schema", "test_faketensor"))
    arguments = (coded.codes, coded.scales, coded.zeros, None, 70, 100, 32)
    torch.library.opcheck(torch.ops.danlu.dense.default, arguments, test_utils=("test_schema", "test_faketensor"))


def test_compiled_graphs_go_through() -> None:
    coded, _ = made(70, 100, 4, 32)
    x = torch.randn(5, 100)
    compiled = torch.compile(lambda rows: linear(rows, coded) + 1, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), linear(x, coded) + 1)


def test_the_fallback_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    coded, _ = made(64, 64, 8, 64)
    monkeypatch.setattr("danlu.kernels.products.native", lambda: None)
    monkeypatch.setattr("danlu.kernels.products.status", lambda: ("torch", "no compiled kernels"))
    _announce.cache_clear()
    with pytest.warns(RuntimeWarning, match="no compiled kernels"):
        linear(torch.randn(1, 64), coded)


def test_importing_starts_no_compiler() -> None:
    code = "import sys, danlu.kernels; print('torch._inductor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
