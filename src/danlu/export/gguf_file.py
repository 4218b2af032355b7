"""GGUF, what llama.cpp and its relatives run: one file with weights, sizes and the tokenizer.

Codes of ours that the format has are written as they are: 8-bit ones with an even zero as Q8_0, 4-bit ones as Q4_0, or
Q4_1 where their zeros differ. Everything else is coded by the `gguf` package's own rounding, or kept in half precision.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.export.gguf_tokenizer import add_tokenizer
from danlu.export.outcome import Outcome, codes_of, distance, package, samples, twin
from danlu.export.packing import QK, q4_0, q4_1, q8_0
from danlu.files import new_folder
from danlu.kernels import Coded, unpack
from danlu.models.build import Model
from danlu.models.families.heads import table as table_of
from danlu.models.families.heads import write_model
from danlu.models.weights import Table, export

Type = Literal["q4_0", "q8_0", "f16", "f32"]
Hf = Mapping[str, Any]
TURNED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # GPT-2 keeps (in, out)
BARE = ("bert.", "roberta.")  # what their files put in front of names


@dataclass(frozen=True)
class Architecture:
    """name: by GGUF's list. facts: what its runtimes want to know, by the writer's methods. turned_heads: queries and
    keys have their rotary pairs side by side. left: beginnings of tensors that its runtimes have no place for."""

    name: str
    facts: Callable[[Hf], dict[str, Any]]
    turned_heads: bool = False
    left: tuple[str, ...] = ()


def _decoder(hf: Hf) -> dict[str, Any]:
    heads = hf["num_attention_heads"]
    size = hf.get("head_dim") or hf["hidden_size"] // heads
    rope = hf.get("rope_parameters") or {}
    return {
        "context_length": hf["max_position_embeddings"], "embedding_length": hf["hidden_size"],
        "block_count": hf["num_hidden_layers"], "feed_forward_length": hf["intermediate_size"], "head_count": heads,
        "head_count_kv": hf.get("num_key_value_heads") or heads, "key_length": size, "value_length": size,
        "rope_dimension_count": size, "rope_freq_base": float(hf.get("rope_theta") or rope.get("rope_theta", 10_000.0)),
        "vocab_size": hf["vocab_size"],
    }  # fmt: skip


def _llama(hf: Hf) -> dict[str, Any]:
    return _decoder(hf) | {"layer_norm_rms_eps": hf["rms_norm_eps"]}


def _cohere(hf: Hf) -> dict[str, Any]:
    facts = _decoder({"max_position_embeddings": 2048} | dict(hf))
    return facts | {"layer_norm_eps": hf["layer_norm_eps"], "logit_scale": hf["logit_scale"]}


def _gpt2(hf: Hf) -> dict[str, Any]:
    return {
        "context_length": hf["n_positions"], "embedding_length": hf["n_embd"], "block_count": hf["n_layer"],
        "feed_forward_length": hf.get("n_inner") or 4 * hf["n_embd"], "head_count": hf["n_head"],
        "layer_norm_eps": hf["layer_norm_epsilon"],
    }  # fmt: skip


def _bert(hf: Hf) -> dict[str, Any]:
    return {
        "context_length": hf["max_position_embeddings"], "embedding_length": hf["hidden_size"],
        "block_count": hf["num_hidden_layers"], "feed_forward_length": hf["intermediate_size"],
        "head_count": hf["num_attention_heads"], "layer_norm_eps": hf["layer_norm_eps"], "causal_attention": False,
    }  # fmt: skip


def _t5(hf: Hf) -> dict[str, Any]:
    return {
        "context_length": 512, "embedding_length": hf["d_model"], "block_count": hf["num_layers"],
        "decoder_block_count": hf.get("num_decoder_layers") or hf["num_layers"], "feed_forward_length": hf["d_ff"],
        "head_count": hf["num_heads"], "key_length": hf["d_kv"], "value_length": hf["d_kv"],
        "layer_norm_eps": hf["layer_norm_epsilon"], "layer_norm_rms_eps": hf["layer_norm_epsilon"],
        "relative_attn_buckets_count": hf["relative_attention_num_buckets"],
        "decoder_start_token_id": hf.get("decoder_start_token_id") or 0,
    }  # fmt: skip


ARCHITECTURES: Mapping[str, Architecture] = {  # by the published model_type
    "gpt2": Architecture("GPT2", _gpt2),
    "llama": Architecture("LLAMA", _llama, turned_heads=True),
    "mistral": Architecture("LLAMA", _llama, turned_heads=True),
    "qwen2": Architecture("QWEN2", _llama),
    "qwen3": Architecture("QWEN3", _llama),
    "bert": Architecture("BERT", _bert, left=("bert.pooler.", "cls.", "classifier.", "pooler.", "qa_outputs.")),
    "t5": Architecture("T5", _t5),
    "cohere": Architecture("COMMAND_R", _cohere),
}


def write_gguf(checkpoint: Checkpoint, path: Path, kind: Type) -> Outcome:
    """One file. kind: of matrices that are no codes yet. E2501 for a model that llama.cpp has no architecture for."""
    gguf = package("gguf")
    hf, table, architecture = _published(checkpoint)
    number = next(each for each, name in gguf.MODEL_ARCH_NAMES.items() if each.name == architecture.name)
    plain = twin(checkpoint.model)
    tensors = export(plain, table)
    names = gguf.get_tensor_name_map(number, _depth(hf))
    with new_folder(path.parent if path.parent.name else Path(".")) as made:
        writer = gguf.GGUFWriter(made / path.name, gguf.MODEL_ARCH_NAMES[number])
        writer.add_name(checkpoint.family.name)
        for fact, value in architecture.facts(hf).items():
            getattr(writer, f"add_{fact}")(value)
        writer.add_file_type(_file_type(gguf, kind))
        if checkpoint.tokenizer:
            add_tokenizer(writer, gguf, checkpoint.tokenizer, checkpoint.config.vocabulary)
        done = _write_tensors(gguf, writer, names, tensors, checkpoint.model, table, kind, hf, architecture)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    difference = _replay(gguf, path, checkpoint, plain, tensors, names, hf, architecture)
    held = {name for name, held_as in done.items() if held_as not in ("F32", "F16")}
    left = tuple(name for name, held_as in done.items() if name not in held)
    return Outcome((path,), tuple(sorted(held)), left, difference, f"gguf {version('gguf')}'s reader")


def _published(checkpoint: Checkpoint) -> tuple[Hf, Table, Architecture]:
    try:
        hf = write_model(checkpoint.family, checkpoint.config)
        if (hf.get("rope_parameters") or {}).get("rope_type", "default") != "default" or hf.get("rope_scaling"):
            raise KeyError("rope_scaling")  # its runtimes would turn by other angles
        return hf, table_of(checkpoint.family, checkpoint.config), ARCHITECTURES[hf["model_type"]]
    except (DanluError, KeyError) as error:
        raise DanluError("E2501", found=checkpoint.family.name, layout="gguf", why=error) from error


def _write_tensors(
    gguf: Any, writer: Any, names: Any, tensors: Mapping[str, Tensor], model: Model, table: Table, kind: Type, hf: Hf,
    architecture: Architecture,
) -> dict[str, str]:  # fmt: skip
    """How each matrix was kept, by its name there; tensors without a name there are E2501, but for those `left`."""
    done: dict[str, str] = {}
    for theirs, tensor in tensors.items():
        if theirs.startswith(architecture.left) or _copy_of_table(theirs, tensors):
            if tensor.ndim == 2 and not _copy_of_table(theirs, tensors):
                done[f"{theirs} (left out)"] = "F32"
            continue
        name = _named(names, theirs, hf)
        value = _arranged(theirs, tensor, hf, architecture)
        turned = architecture.turned_heads and value is not tensor  # codes would have to change places too
        coded = codes_of(model, table, theirs) if value.ndim == 2 and not turned else None
        data, held_as = _data(gguf, value, coded, kind if value.ndim == 2 and "position" not in name else "f32")
        writer.add_tensor(name, data, raw_dtype=getattr(gguf.GGMLQuantizationType, held_as))
        if value.ndim == 2:
            done[name] = held_as
    return done


def _copy_of_table(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a head's matrix is its table again: the runtime takes the table then."""
    tables = ("model.embed_tokens.weight", "transformer.wte.weight", "shared.weight")
    return name in ("lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight") and any(
        table in tensors and tensors[table].shape == tensors[name].shape and torch.equal(tensors[table], tensors[name])
        for table in tables
    )


def _named(names: Any, theirs: str, hf: Hf) -> str:
    bare = theirs
    for beginning in BARE:
        bare = bare.removeprefix(beginning)
    for each in (theirs, bare, f"transformer.{bare}"):
        found = names.get_name(each, try_suffixes=(".weight", ".bias"))
        if found:
            return str(found)
    raise DanluError("E2501", found=hf["model_type"], layout="gguf", why=theirs)


def _arranged(theirs: str, tensor: Tensor, hf: Hf, architecture: Architecture) -> Tensor:
    """As llama.cpp wants it: GPT-2's layers turned around, Llama's rotary pairs side by side."""
    if hf["model_type"] == "gpt2" and theirs.endswith(TURNED):
        return tensor.T.contiguous()
    if architecture.turned_heads and theirs.rpartition(".")[0].endswith(("q_proj", "k_proj")):
        heads = hf["num_attention_heads"]
        heads = heads if "q_proj" in theirs else hf.get("num_key_value_heads") or heads
        halves = tensor.view(heads, 2, len(tensor) // heads // 2, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape).contiguous()
    return tensor


def _data(gguf: Any, tensor: Tensor, coded: Coded | None, kind: Type) -> tuple[Any, str]:
    """Bytes of a tensor, and their kind: our codes where the format has them."""
    if coded is not None and coded.inputs % QK == 0 and coded.group % QK == 0 and coded.levels is None:
        codes, scales, zeros = unpack(coded)
        if coded.bits == 8 and bool((zeros == 128).all()):
            return q8_0(codes, scales, coded.group), "Q8_0"
        if coded.bits == 4 and bool((zeros == 8).all()):
            return q4_0(codes, scales, coded.group), "Q4_0"
        if coded.bits == 4:
            return q4_1(codes, scales, zeros, coded.group), "Q4_1"
    array = tensor.detach().float().numpy()
    if kind in ("q4_0", "q8_0") and tensor.shape[-1] % QK:
        kind = "f16"  # blocks do not divide the row: said in the outcome
    if kind in ("f16", "f32"):
        return array.astype(np.float16 if kind == "f16" else np.float32), kind.upper()
    return gguf.quants.quantize(array, getattr(gguf.GGMLQuantizationType, kind.upper())), kind.upper()


def _replay(
    gguf: Any, path: Path, checkpoint: Checkpoint, plain: Any, tensors: Mapping[str, Tensor], names: Any, hf: Hf,
    architecture: Architecture,
) -> float:  # fmt: skip
    """Logits of our model with the weights that gguf's own reader gives for the file, against those without."""
    read = {
        tensor.name: torch.from_numpy(
            np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        )
        for tensor in gguf.GGUFReader(path).tensors
    }
    wanted = samples(plain, checkpoint.config.vocabulary)[1]
    table = _published(checkpoint)[1]
    parameters = dict(plain.named_parameters())
    for ours, theirs, stored in table.locate(list(parameters)):
        if theirs.startswith(architecture.left) or _copy_of_table(theirs, tensors):
            continue
        value = read[_named(names, theirs, hf)]
        whole = _restored(theirs, value, tensors[theirs], hf, architecture)
        parameters[ours].data.copy_(stored.read(whole))
    return distance(samples(plain, checkpoint.config.vocabulary)[1], wanted)


def _restored(theirs: str, value: Tensor, like: Tensor, hf: Hf, architecture: Architecture) -> Tensor:
    """What `_arranged` did, undone."""
    places = torch.arange(like.numel()).view(like.shape)
    moved = _arranged(theirs, places, hf, architecture)
    back = torch.empty(like.numel())
    back[moved.flatten()] = value.flatten()
    return back.view(like.shape)


def _depth(hf: Hf) -> int:
    return int(next(hf[name] for name in ("num_hidden_layers", "n_layer", "num_layers") if hf.get(name)))


def _file_type(gguf: Any, kind: Type) -> Any:
    words = {"q4_0": "MOSTLY_Q4_0", "q8_0": "MOSTLY_Q8_0", "f16": "MOSTLY_F16", "f32": "ALL_F32"}
    return getattr(gguf.LlamaFileType, words[kind])
