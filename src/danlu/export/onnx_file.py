"""ONNX, and its int8 form by onnxruntime, for encoders above all: any number of rows of any length."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.export.outcome import Outcome, distance, package, samples, twin
from danlu.files import new_folder

FILE = "model.onnx"
INT8 = ("MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul")
OPSET = 18


class _Plain(nn.Module):
    """A model of what the format has: numbers in, logits out."""

    def __init__(self, model: nn.Module, several: bool):
        super().__init__()
        self.model, self.several = model, several

    def forward(self, tokens: Tensor, other: Tensor) -> Tensor:
        """other: where tokens are valid, or what a decoder has written."""
        logits: Tensor = self.model(tokens, other) if not self.several else self.model(source=tokens, target=other)
        return logits


def write_onnx(checkpoint: Checkpoint, folder: Path, int8: bool) -> Outcome:
    """A folder with model.onnx and the tokenizer. int8: 8-bit codes with a scale for each channel, and inputs coded
    while it runs. E2504 where onnxruntime left a layer of a block as it was."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        package(name)
    plain = twin(checkpoint.model).eval()
    inputs, wanted = samples(plain, checkpoint.config.vocabulary)
    several = len(inputs) == 2
    first = inputs["source" if several else "tokens"]
    second = inputs["target"] if several else torch.ones_like(first)
    names = ("source", "target") if several else ("tokens", "valid")
    with new_folder(folder) as made:
        whole = made / FILE
        _trace(_Plain(plain, several), (first, second), names, whole)
        held, left = _quantized(made, whole) if int8 else ((), _products(whole))
        if checkpoint.tokenizer:
            checkpoint.tokenizer.write(made)
    runtime = package("onnxruntime")
    session = runtime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    fed = dict(zip(names, (first.numpy(), second.numpy()), strict=True))
    taken = {each.name for each in session.get_inputs()}
    found = torch.from_numpy(session.run(None, {name: each for name, each in fed.items() if name in taken})[0])
    files = tuple(sorted(file for file in folder.iterdir() if file.is_file()))
    return Outcome(files, held, left, distance(found, wanted), f"onnxruntime {runtime.__version__}")


def _trace(model: nn.Module, inputs: tuple[Tensor, Tensor], names: tuple[str, str], path: Path) -> None:
    row, lengths = torch.export.Dim("rows", min=1), [torch.export.Dim(f"length_{name}", min=2) for name in names]
    if names[1] == "valid":
        lengths[1] = lengths[0]
    shapes = tuple({0: row, 1: length} for length in lengths)
    with torch.no_grad():
        torch.onnx.export(
            model, inputs, str(path), input_names=list(names), output_names=["logits"], opset_version=OPSET,
            dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False,
        )  # fmt: skip


def _products(path: Path) -> tuple[str, ...]:
    """Products with a constant matrix: the layers."""
    model: Any = package("onnx").load(str(path))
    constants = {each.name: len(each.dims) for each in model.graph.initializer}
    kinds = ("MatMul", "Gemm")
    return tuple(node.name for node in model.graph.node if node.op_type in kinds and constants.get(node.input[1]) == 2)


def _quantized(folder: Path, path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The file made int8 in its place; names of its int8 products, and of layers that are none."""
    package("onnxruntime.quantization")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    before = len(_products(path))
    made = folder / "int8.onnx"
    quantize_dynamic(
        str(path), str(made), per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"],
        extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip
    made.replace(path)
    model: Any = package("onnx").load(str(path))
    held = tuple(node.name for node in model.graph.node if node.op_type in INT8)
    left = _products(path)
    if (left and len(held) + len(left) != before) or len(held) == 0:
        raise DanluError("E2504", found=f"{len(held)}/{before}", names=list(left))
    return held, left
