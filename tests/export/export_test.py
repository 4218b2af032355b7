"""Models in other formats: what their own packages read is what was written, and what cannot be written is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.compress.quantize import Quantize
from danlu.errors import DanluError
from danlu.export.folders import write_folder
from danlu.export.gguf_file import write_gguf
from danlu.export.onnx_file import write_onnx
from danlu.export.outcome import samples, twin
from danlu.export.packing import from_gptq, gptq, unwords, words
from danlu.kernels import unpack
from danlu.models.build import build
from danlu.models.families import FAMILIES
from danlu.nn.quantized import Codes

WORDS: dict[str, Any] = {"depth": 2, "width": 64, "heads": 4, "vocabulary": 96}


def checkpoint(family: str, **change: Any) -> Checkpoint:
    """A model whose parameters are all different from what they begin as, quantised if that is asked for."""
    config = FAMILIES[family].make(**{**dict(FAMILIES[family].sizes["tiny"]), **WORDS})
    model = build(config, seed=3).eval()
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    if change:
        Quantize(**change).apply(model)
    return Checkpoint(FAMILIES[family], config, model)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dim", [0, 1])
def test_words_are_unwords(bits: int, dim: int) -> None:
    codes = torch.randint(2**bits, (33, 70), generator=torch.Generator().manual_seed(0))
    assert torch.equal(unwords(words(codes, bits, dim), bits, dim, codes.shape[dim]), codes)


def test_a_twin_computes_without_rounding_inputs() -> None:
    whole = checkpoint("gpt2", coding="int4", inputs="float", embeddings="none", group=32)
    made = twin(whole.model)
    assert not any(isinstance(module, Codes) for module in made.modules())
    torch.testing.assert_close(samples(made, 96)[1], samples(whole.model, 96)[1], rtol=1e-4, atol=1e-4)
    tied = twin(checkpoint("gpt2", coding="int8").model)
    assert tied.head.output.weight is tied.tower.embedding.tokens.weight


# compressed-tensors, GPTQ


@pytest.mark.parametrize(("family", "change"), [
    ("llama", {"coding": "int4", "group": 32}), ("llama", {"coding": "int4", "group": 32, "symmetric": True}),
    ("palm", {"coding": "int4", "group": 64}), ("opt", {"coding": "int8"}), ("llama", {"coding": "int8"}),
    ("bert", {"coding": "int8", "inputs": "float"}), ("t5", {"coding": "int4", "group": 32}),
])  # fmt: skip
def test_compressed_tensors_are_read_by_transformers(family: str, change: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("compressed_tensors")
    outcome = write_folder(checkpoint(family, **change), tmp_path / "model", "compressed-tensors")
    even = change["coding"] == "int8" or "symmetric" in change  # transformers does not load packed zeros yet
    assert outcome.judge.startswith("transformers" if even else "compressed-tensors")
    assert outcome.difference is not None
    assert outcome.difference < (0.05 if change["coding"] == "int8" and "inputs" not in change else 1e-4)
    assert outcome.coded
    assert all("layer" in name or "block" in name for name in outcome.coded)


def test_gptq_s_formula_gives_the_same_weights(tmp_path: Path) -> None:
    whole = checkpoint("llama", coding="int4", group=32)
    for module in whole.model.modules():
        if isinstance(module, Codes) and module.config.coding == "int4":
            codes, scales, zeros = unpack(module.coded)
            torch.testing.assert_close(from_gptq(gptq(codes, scales, zeros, 4, module.group), 4), module.dense())
    outcome = write_folder(whole, tmp_path / "model", "gptq")
    assert outcome.difference is not None
    assert outcome.difference < 1e-5
    assert len(outcome.coded) == 2 * 7


@pytest.mark.parametrize(("family", "change", "code"), [
    ("gpt2", {"coding": "int4", "group": 32}, "E2501"), ("llama", {"coding": "int3", "group": 32}, "E2503"),
    ("llama", {"coding": "int4", "group": 48}, "E2503"), ("llama", {"coding": "int4", "keep": ("down",)}, None),
])  # fmt: skip
def test_what_a_folder_cannot_hold_is_refused_and_the_rest_is_named(
    family: str, change: dict[str, Any], code: str | None, tmp_path: Path
) -> None:
    whole = checkpoint(family, **change)
    if code:
        with pytest.raises(DanluError, match=code):
            write_folder(whole, tmp_path / "model", "gptq")
        return
    assert sum("down_proj" in name for name in write_folder(whole, tmp_path / "model", "gptq").plain) == 2


# GGUF


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "t5", "palm"])
@pytest.mark.parametrize("kind", ["f32", "q8_0", "q4_0"])
def test_gguf_is_read_back_by_its_own_package(family: str, kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    outcome = write_gguf(checkpoint(family), tmp_path / "out" / "model.gguf", kind)
    assert outcome.difference is not None
    assert outcome.difference < {"f32": 1e-6, "q8_0": 0.05, "q4_0": 0.6}[kind]
    assert (outcome.difference > 0) == (kind != "f32")
    assert bool(outcome.coded) == (kind != "f32")


@pytest.mark.parametrize("family", ["palm", "gpt2"])
@pytest.mark.parametrize("change", [
    {"coding": "int4", "group": 32, "symmetric": True}, {"coding": "int8"}, {"coding": "int4", "group": 64},
])  # fmt: skip
def test_gguf_keeps_our_codes(family: str, change: dict[str, Any], tmp_path: Path) -> None:
    """To the bit where the zeros are even; to half a precision's rounding where they are not."""
    pytest.importorskip("gguf")
    outcome = write_gguf(checkpoint(family, **change), tmp_path / "out" / "model.gguf", "f32")
    assert outcome.difference is not None
    assert outcome.difference < (1e-5 if "symmetric" in change or change["coding"] == "int8" else 5e-3)
    assert len(outcome.coded) >= 2 * (7 if family == "palm" else 4)


def test_gguf_has_no_place_for_some(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(DanluError, match="E2501"):
        write_gguf(checkpoint("opt"), tmp_path / "out" / "model.gguf", "q8_0")


# ONNX


@pytest.mark.parametrize(("family", "int8"), [("bert", True), ("gpt2", False)])
def test_onnx_is_replayed_by_its_runtime(family: str, int8: bool, tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    outcome = write_onnx(checkpoint(family), tmp_path / "out", int8)
    assert outcome.difference is not None
    assert outcome.difference < (0.1 if int8 else 1e-4)
    assert len(outcome.coded) >= 2 * 6 if int8 else not outcome.coded
    runtime = pytest.importorskip("onnxruntime").InferenceSession(str(tmp_path / "out/model.onnx"))
    tokens = torch.randint(96, (3, 7))
    fed = {"tokens": tokens.numpy(), "valid": torch.ones_like(tokens).numpy()}
    taken = {each.name for each in runtime.get_inputs()}
    assert runtime.run(None, {name: each for name, each in fed.items() if name in taken})[0].shape == (3, 7, 96)
