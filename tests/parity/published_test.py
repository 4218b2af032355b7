"""Every family against the published implementation: random shapes, every parameter perturbed, both directions.

A reference of random shape is saved, loaded by us, and must answer the same; what we export must equal its file; what
we write must load there without a tensor too few or too many, and answer the same again.
"""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.bert.modeling_bert import BertLMPredictionHead
from transformers.models.roberta.modeling_roberta import RobertaLMHead
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLMHead

from danlu.models.build import build
from danlu.models.families import family_of
from danlu.models.language import LanguageModel
from danlu.models.weights import export, load

QUICK, FULL = 3, 30
TOLERANCE = 1e-4
Draw = random.Random


def attention(draw: Draw, even: bool = False) -> tuple[int, int]:
    """heads, often odd, and the size of each."""
    return draw.choice([1, 2, 3, 4, 5]), draw.choice([4, 6, 8, 16] if even else [3, 4, 5, 8])


def encoder(draw: Draw) -> dict[str, Any]:
    heads, size = attention(draw)
    return {
        "vocab_size": draw.randint(40, 99), "hidden_size": heads * size, "num_hidden_layers": draw.randint(1, 3),
        "num_attention_heads": heads, "intermediate_size": draw.randint(5, 40), "max_position_embeddings": 30,
        "type_vocab_size": draw.choice([1, 2]), "hidden_act": draw.choice(["gelu", "relu", "gelu_new"]),
        "layer_norm_eps": draw.choice([1e-12, 1e-5]), "tie_word_embeddings": draw.random() < 0.7,
    }  # fmt: skip


def rotary(draw: Draw) -> dict[str, Any]:
    kind = draw.choice(["default", "default", "linear", "llama3"])
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": draw.choice([10_000.0, 500.0])}
    if kind != "default":
        rope["factor"] = 4.0
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    return {"rope_parameters": rope}


def decoder(draw: Draw, free_head: bool = True) -> dict[str, Any]:
    heads, size = attention(draw, even=True)
    group = draw.choice([1, heads, next(part for part in (2, 3, 5, 1) if heads % part == 0)])
    width = draw.choice([2, 3]) * heads * 4 if free_head else heads * size
    return rotary(draw) | {
        "vocab_size": draw.randint(40, 99), "hidden_size": width, "num_hidden_layers": draw.randint(1, 3),
        "num_attention_heads": heads, "num_key_value_heads": heads // group, "head_dim": size,
        "intermediate_size": draw.randint(5, 40), "max_position_embeddings": 40,
        "tie_word_embeddings": draw.random() < 0.5,
    }  # fmt: skip


def windowed(draw: Draw) -> dict[str, Any]:
    on = draw.random() < 0.6
    return {"use_sliding_window": on, "sliding_window": 3 if on else None, "max_window_layers": draw.randint(0, 2)}


def bert(draw: Draw) -> Any:
    return transformers.BertForMaskedLM(transformers.BertConfig(**encoder(draw)))


def xlm(draw: Draw) -> Any:
    heads, size = attention(draw)
    languages = draw.choice([1, 3])
    words = {
        "vocab_size": draw.randint(40, 99), "emb_dim": heads * size, "n_layers": draw.randint(1, 3), "n_heads": heads,
        "max_position_embeddings": 30, "n_langs": languages, "gelu_activation": draw.random() < 0.7,
        "layer_norm_eps": draw.choice([1e-12, 1e-5]), "tie_word_embeddings": draw.random() < 0.7, "pad_token_id": 1,
    }  # fmt: skip
    names = {"lang2id": {"de": 1, "en": 0, "fr": 2}} if languages > 1 and draw.random() < 0.7 else {}
    return transformers.XLMWithLMHeadModel(transformers.XLMConfig(**words, **names))


def roberta(draw: Draw) -> Any:
    return transformers.RobertaForMaskedLM(transformers.RobertaConfig(**encoder(draw)))


def xlm_roberta(draw: Draw) -> Any:
    return transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**encoder(draw)))


def gpt2(draw: Draw) -> Any:
    heads, size = attention(draw)
    config = transformers.GPT2Config(
        vocab_size=draw.randint(40, 99), n_embd=heads * size, n_layer=draw.randint(1, 3), n_head=heads, n_positions=30,
        n_inner=draw.choice([None, 17]), activation_function=draw.choice(["gelu_new", "relu", "gelu"]),
        tie_word_embeddings=draw.random() < 0.7,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def opt(draw: Draw) -> Any:
    heads, size = attention(draw)
    config = transformers.OPTConfig(
        vocab_size=draw.randint(40, 99), hidden_size=heads * size, num_hidden_layers=draw.randint(1, 3),
        num_attention_heads=heads, ffn_dim=draw.randint(5, 40), max_position_embeddings=30,
        word_embed_proj_dim=draw.choice([heads * size, 7]), do_layer_norm_before=draw.random() < 0.5,
        enable_bias=draw.random() < 0.7, tie_word_embeddings=draw.random() < 0.7,
    )  # fmt: skip
    return transformers.OPTForCausalLM(config)


def palm(draw: Draw) -> Any:
    config = transformers.CohereConfig(
        **decoder(draw) | {"tie_word_embeddings": draw.random() < 0.7}, logit_scale=draw.choice([0.25, 1.0]),
        attention_bias=draw.random() < 0.3, use_qk_norm=False, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return transformers.CohereForCausalLM(config)


def llama(draw: Draw) -> Any:
    biases = {"attention_bias": draw.random() < 0.4, "mlp_bias": draw.random() < 0.4}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**decoder(draw), **biases))


def mistral(draw: Draw) -> Any:
    config = transformers.MistralConfig(**decoder(draw), sliding_window=draw.choice([None, 1, 3]))
    return transformers.MistralForCausalLM(config)


def qwen2(draw: Draw) -> Any:
    words = decoder(draw, free_head=False)
    words.pop("head_dim")
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**words, **windowed(draw)))


def qwen3(draw: Draw) -> Any:
    config = transformers.Qwen3Config(**decoder(draw), **windowed(draw), attention_bias=draw.random() < 0.4)
    return transformers.Qwen3ForCausalLM(config)


def t5_words(draw: Draw, gated: bool) -> dict[str, Any]:
    kinds = ["gated-gelu", "gated-silu"] if gated else ["relu", "gelu_new"]
    return {
        "vocab_size": draw.randint(40, 99), "d_model": draw.randint(5, 30), "d_kv": draw.choice([3, 4, 8]),
        "d_ff": draw.randint(5, 40), "num_layers": draw.randint(1, 3), "num_decoder_layers": draw.randint(1, 3),
        "num_heads": draw.randint(1, 5), "relative_attention_num_buckets": draw.choice([8, 32]),
        "relative_attention_max_distance": draw.choice([16, 128]), "feed_forward_proj": draw.choice(kinds),
        "decoder_start_token_id": 0,
    }  # fmt: skip


def t5(draw: Draw) -> Any:
    scaled = draw.random() < 0.5
    words = t5_words(draw, gated=draw.random() < 0.5) | {"tie_word_embeddings": scaled}
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**words))
    return model if scaled else untied(model)


def mt5(draw: Draw) -> Any:
    return untied(transformers.MT5ForConditionalGeneration(transformers.MT5Config(**t5_words(draw, gated=True))))


def untied(model: Any) -> Any:
    """As published v1.1 files are: the reference ties at first and learns from the file that it should not."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model._tied_weights_keys = {name: of for name, of in model._tied_weights_keys.items() if "lm_head" not in name}
    model.all_tied_weights_keys.pop("lm_head.weight", None)
    return model


def bart_words(draw: Draw) -> dict[str, Any]:
    heads, size = attention(draw)
    return {
        "vocab_size": draw.randint(40, 99), "d_model": heads * size, "encoder_layers": draw.randint(1, 3),
        "decoder_layers": draw.randint(1, 3), "encoder_attention_heads": heads, "decoder_attention_heads": heads,
        "encoder_ffn_dim": draw.randint(5, 40), "decoder_ffn_dim": draw.randint(5, 40), "max_position_embeddings": 30,
        "scale_embedding": draw.random() < 0.5, "activation_function": draw.choice(["gelu", "relu"]),
        "decoder_start_token_id": 2,
    }  # fmt: skip


def bart(draw: Draw) -> Any:
    return transformers.BartForConditionalGeneration(transformers.BartConfig(**bart_words(draw)))


def mbart(draw: Draw) -> Any:
    return transformers.MBartForConditionalGeneration(transformers.MBartConfig(**bart_words(draw)))


REFERENCES = {
    "bert": bert, "roberta": roberta, "xlm": xlm, "xlm-roberta": xlm_roberta, "gpt2": gpt2, "opt": opt, "palm": palm,
    "llama": llama, "mistral": mistral, "qwen2": qwen2, "qwen3": qwen3, "t5": t5, "mt5": mt5, "bart": bart,
    "mbart": mbart,
}  # fmt: skip


def perturb(model: Any, seed: int) -> None:
    """Move every parameter, norms and biases too, or half of all mistakes stay hidden."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.25 * noise if parameter.ndim > 1 else parameter + 0.2 * noise)
        for head in model.modules():
            if isinstance(head, BertLMPredictionHead | RobertaLMHead | XLMRobertaLMHead):
                head.bias.copy_(head.decoder.bias)  # untied, the first is never read


def answers(model: Any, tokens: Tensor, target: Tensor | None) -> Tensor:
    """The reference's logits for one row (T,), unpadded."""
    with torch.no_grad():
        if target is None:
            logits = model(input_ids=tokens[None]).logits
        else:
            logits = model(input_ids=tokens[None], decoder_input_ids=target[None]).logits
    return logits[0]


def padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Rows of different lengths in one batch -> tokens and valid, (B, T). Padding is token 1, as in RoBERTa."""
    length = max(map(len, rows))
    tokens = torch.ones(len(rows), length, dtype=torch.long)
    valid = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        place = slice(length - len(row), None) if side == "left" else slice(len(row))
        tokens[index, place], valid[index, place] = row, True
    return tokens, valid


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    count = FULL if metafunc.config.getoption("--full") else QUICK
    cases = [(name, seed) for name in REFERENCES for seed in range(count)]
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize(("name", "seed"), cases, ids=lambda value: str(value))


def test_family(name: str, seed: int, tmp_path: Path) -> None:
    theirs = REFERENCES[name](Draw(f"{name} {seed}")).eval()
    perturb(theirs, seed)
    theirs.save_pretrained(tmp_path / "theirs")
    published = json.loads((tmp_path / "theirs/config.json").read_text())
    tensors = load_file(tmp_path / "theirs/model.safetensors")

    family = family_of(published)
    assert family.name == name
    config = family.read(published)
    ours = build(config, "meta")
    loaded = load(ours, tensors, family.table(config))
    assert loaded.fresh == loaded.unread == ()
    same_answers(ours.eval(), theirs, seed)

    exported = export(ours, family.table(config))
    assert exported.keys() == tensors.keys()
    assert all(torch.equal(exported[key], tensors[key]) for key in tensors)

    again = family.write(config)
    assert family.read(again) == config
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(again))
    save_file(exported, folder / "model.safetensors", {"format": "pt"})
    reloaded, report = type(theirs).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    same_answers(ours, reloaded.eval(), seed)


def same_answers(ours: Any, theirs: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = ours.config.vocabulary
    rows = [torch.randint(4, vocabulary, (length,), generator=generator) for length in (9, 5, 7)]
    if isinstance(ours, LanguageModel):
        for side in ("left", "right"):
            tokens, valid = padded(rows, side)
            with torch.no_grad():
                logits = ours(tokens, valid)
            for index, row in enumerate(rows):
                close(logits[index][valid[index]], answers(theirs, row, None))
        close(ours(rows[0][None])[0], answers(theirs, rows[0], None))
        return
    targets = [torch.randint(4, vocabulary, (length,), generator=generator) for length in (6, 8, 4)]
    for side in ("left", "right"):
        tokens, valid = padded(rows, side)
        target, target_valid = padded(targets, side)
        with torch.no_grad():
            logits = ours(tokens, target, valid, target_valid=target_valid)
        for index, (row, wanted) in enumerate(zip(rows, targets, strict=True)):
            close(logits[index][target_valid[index]], answers(theirs, row, wanted))
    close(ours(rows[0][None], targets[0][None])[0], answers(theirs, rows[0], targets[0]))


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)
