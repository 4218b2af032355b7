"""Folders that transformers, vLLM and others read with their codes: compressed-tensors, and the layout of GPTQ."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.checkpoint.plain import read_table
from danlu.checkpoint.weights import INDEX, write_weights
from danlu.errors import DanluError
from danlu.export.outcome import Outcome, codes_by_name, distance, package, samples, there, twin
from danlu.export.packing import compressed, from_gptq, gptq
from danlu.files import replace_json
from danlu.kernels import unpack
from danlu.models.build import Model, build
from danlu.models.families.heads import table as table_of
from danlu.models.families.heads import write_model
from danlu.models.weights import export, load
from danlu.nn.coding import BITS
from danlu.nn.quantized import Codes

Layout = Literal["compressed-tensors", "gptq"]


def write_folder(checkpoint: Checkpoint, folder: Path, layout: Layout) -> Outcome:
    """A folder with config.json, tokenizer and codes. E2501 for a model no published class computes, or whose class
    turns its weights around (GPT-2); E2503 where layers have several codings, or groups that do not fill their rows."""
    model = checkpoint.model
    try:
        write_model(checkpoint.family, checkpoint.config)
        table = table_of(checkpoint.family, checkpoint.config)
        coded = {name: each for name, each in codes_by_name(model, table).items() if ".blocks." in each[0]}
    except DanluError as error:
        raise DanluError("E2501", found=checkpoint.family.name, layout=layout, why=error.code) from error
    inside = [path for path, each in model.named_modules() if isinstance(each, Codes) and ".blocks." in path]
    if not inside or len(coded) != len(inside):
        raise DanluError("E2501", found=checkpoint.family.name, layout=layout, why=f"{len(coded)}/{len(inside)}")
    kept = _one_way(coded, layout)
    plain = twin(model)
    written = replace(checkpoint, model=plain, adapted=None, changes=()).save(folder)
    (written / "danlu.json").unlink()  # it tells of a folder that danlu reads back; this one is for others
    tensors = dict(export(plain, table))
    for name, (_, layer) in coded.items():
        del tensors[name]
        tensors |= {f"{name.removesuffix('weight')}{end}": each for end, each in kept.parts(layer).items()}
    _replace_weights(written, tensors)
    layers = [f"{path}.weight" for path, each in plain.named_modules() if isinstance(each, nn.Linear)]
    whole = sorted({name.removesuffix(".weight") for _, name, _ in table.locate(layers) if name not in coded})
    settings = read_table(written / "config.json")
    replace_json(written / "config.json", settings | {"quantization_config": kept.settings(whole)})
    difference, judge = kept.judged(checkpoint, plain, written, tensors, coded)
    files = tuple(sorted(file for file in written.iterdir() if file.is_file()))
    return Outcome(files, tuple(coded), tuple(whole), difference, judge)


@dataclass(frozen=True)
class Kept:
    """The one way in which all layers of a folder are kept."""

    layout: Layout
    bits: int
    group: int | None
    even: bool  # as far below zero as above
    rounded: bool  # inputs become codes too, where the format can say so

    @property
    def packed(self) -> bool:
        """Codes share words; otherwise each is a byte."""
        return not (self.bits == 8 and self.rounded)

    def parts(self, layer: Codes) -> dict[str, Tensor]:
        codes, scales, zeros = unpack(layer.coded)
        if self.layout == "gptq":
            return gptq(codes, scales, zeros, self.bits, layer.group)
        return compressed(codes, scales, None if self.even else zeros, self.bits, self.packed)

    def settings(self, whole: list[str]) -> dict[str, Any]:
        """What config.json says. whole: names of linear layers that are not coded."""
        if self.layout == "gptq":
            return {
                "quant_method": "gptq", "bits": self.bits, "group_size": self.group or -1, "desc_act": False,
                "sym": self.even, "lm_head": False, "checkpoint_format": "gptq",
            }  # fmt: skip
        weights = {
            "num_bits": self.bits, "type": "int", "symmetric": self.even, "group_size": self.group,
            "strategy": "channel" if self.group is None else "group", "dynamic": False,
        }  # fmt: skip
        inputs = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
        scheme = {"targets": ["Linear"], "weights": weights, "input_activations": None if self.packed else inputs}
        return {
            "quant_method": "compressed-tensors", "format": "pack-quantized" if self.packed else "int-quantized",
            "quantization_status": "compressed", "ignore": whole, "config_groups": {"group_0": scheme},
        }  # fmt: skip

    def judged(
        self, checkpoint: Checkpoint, plain: Model, folder: Path, tensors: Mapping[str, Tensor],
        coded: Mapping[str, tuple[str, Codes]],
    ) -> tuple[float | None, str]:  # fmt: skip
        """How far the folder's logits are from those of the same weights here, and who read it."""
        if self.layout == "compressed-tensors" and not (there("transformers") and there("compressed_tensors")):
            return None, "transformers, compressed-tensors"
        inputs, wanted = samples(plain, checkpoint.config.vocabulary)
        if self.layout == "compressed-tensors" and self.even:
            return distance(_by_transformers(folder, inputs), wanted), f"transformers {version('transformers')}"
        read, dense = dict(tensors), self._dense
        for name in coded:
            base = name.removesuffix("weight")
            read[name] = dense({end.removeprefix(base): read.pop(end) for end in list(read) if end.startswith(base) and
                                not end.endswith("bias")})  # fmt: skip
        other = build(checkpoint.config, "meta")
        load(other, read, table_of(checkpoint.family, checkpoint.config))
        judge = (
            "the format's formula" if self.layout == "gptq" else f"compressed-tensors {version('compressed-tensors')}"
        )
        return distance(samples(other.eval(), checkpoint.config.vocabulary)[1], wanted), judge

    def _dense(self, parts: dict[str, Tensor]) -> Tensor:
        """The weights of one layer, as readers of the format make them."""
        if self.layout == "gptq":
            return from_gptq(parts, self.bits)
        quantization = package("compressed_tensors.quantization")
        scheme = quantization.QuantizationScheme(**self.settings([])["config_groups"]["group_0"])
        reader = package("compressed_tensors.compressors").BaseCompressor.get_value_from_registry("pack-quantized")
        weight: Tensor = reader.decompress(parts, scheme)["weight"]
        return weight


def _one_way(coded: Mapping[str, tuple[str, Codes]], layout: Layout) -> Kept:
    """E2503 where layers are kept in several ways, or the format has no place for theirs."""
    layers = [layer for _, layer in coded.values()]
    ways = {(layer.config.coding, layer.config.group, layer.config.inputs) for layer in layers}
    if len(ways) != 1 or layers[0].config.coding not in ("int8", "int4"):
        raise DanluError("E2503", found=sorted(map(str, ways)), layout=layout)
    for name, (_, layer) in coded.items():
        if layer.columns % layer.group or (layout == "gptq" and layer.rows % 8):
            found = f"{name} ({layer.rows}, {layer.columns}), group {layer.group}"
            raise DanluError("E2503", found=found, layout=layout)
    config = layers[0].config
    bits = BITS[config.coding]
    even = all(bool((layer.coded.zeros == 2 ** (bits - 1))[:, :, : layer.rows].all()) for layer in layers)
    return Kept(layout, bits, config.group, even, config.inputs == "int8")


def _replace_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    for old in (*folder.glob("model*.safetensors"), folder / INDEX):
        old.unlink(missing_ok=True)
    write_weights(folder, {name: tensor.contiguous() for name, tensor in tensors.items()})


@torch.no_grad()
def _by_transformers(folder: Path, inputs: Mapping[str, Tensor]) -> Tensor:
    """Logits of the class that transformers makes of a folder."""
    name = read_table(folder / "config.json")["architectures"][0]
    theirs = getattr(package("transformers"), name).from_pretrained(folder).eval()
    named = {"tokens": "input_ids", "source": "input_ids", "target": "decoder_input_ids"}
    logits: Tensor = theirs(**{named[name]: each for name, each in inputs.items()}).logits
    return logits.float()
