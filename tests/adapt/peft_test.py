"""Our adapter folders in PEFT, PEFT's folders here, and back: the same logits."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from stirring import TOKENS, answer, made, stirred

from danlu.adapt import read_change
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.classifier import AnswerConfig, ClassifierConfig

CLASSES = {
    "bert-tiny": transformers.AutoModelForMaskedLM, "t5-tiny": transformers.AutoModelForSeq2SeqLM,
    "bart-tiny": transformers.AutoModelForSeq2SeqLM,
}  # fmt: skip
FAMILIES = ("bert-tiny", "gpt2-tiny", "llama-tiny", "t5-tiny", "bart-tiny")
KINDS: list[dict[str, Any]] = [
    {"kind": "lora"},
    {"kind": "lora", "rank": 3, "root": True, "targets": ["query", "value"]},
    {"kind": "lora", "targets": ["key", "up"], "alpha": 5},
    {"kind": "dora"},
    {"kind": "dora", "targets": ["query", "mlp"], "rank": 2},
    {"kind": "ia3"},
    {"kind": "prompt", "tokens": 4},
    {"kind": "prefix", "tokens": 4},
]
UNKNOWN_THERE = {("prompt", "bert-tiny"), ("prefix", "bert-tiny"), ("prefix", "t5-tiny"), ("prefix", "bart-tiny")}
Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def _calm() -> None:
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")


@torch.no_grad()
def their_answer(model: Any) -> torch.Tensor:
    both = {"decoder_input_ids": TOKENS.flip(1)} if model.config.is_encoder_decoder else {}
    logits: torch.Tensor = model(input_ids=TOKENS, **both).logits
    return logits[:, -TOKENS.shape[1] :]


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("data", KINDS, ids=lambda data: f"{data['kind']}-{'-'.join(data.get('targets', []))}")
def test_there_and_back(data: dict[str, Any], family: str, saved: Save, tmp_path: Path) -> None:
    base = saved(family)
    ours = Checkpoint.load(base).changed(read_change(data), seed=1, name=str(base))
    stirred(ours.model, only_trained=True)
    expected = answer(ours.model)
    ours.save(tmp_path / "ours")
    again = Checkpoint.load(tmp_path / "ours")
    assert torch.equal(answer(again.model), expected)
    assert again.adapted
    assert again.adapted.change == read_change(data)
    if (data["kind"], family) in UNKNOWN_THERE:  # PEFT does nothing with them, or has another meaning of the word
        return
    reference = CLASSES.get(family, transformers.AutoModelForCausalLM).from_pretrained(base)
    theirs = peft.PeftModel.from_pretrained(reference, tmp_path / "ours").eval()
    close(their_answer(theirs), expected)
    theirs.save_pretrained(tmp_path / "theirs")
    written, kept = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("theirs", "ours"))
    assert written.keys() == kept.keys()
    assert all(torch.equal(written[name], kept[name]) for name in kept)
    back = Checkpoint.load(tmp_path / "theirs")
    close(answer(back.model), expected)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("bert-tiny", peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "output.dense"])),
        ("gpt2-tiny", peft.LoraConfig(r=4, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")),
        ("gpt2-tiny", peft.IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"],
                                     task_type="CAUSAL_LM", fan_in_fan_out=True)),
        ("llama-tiny", peft.LoraConfig(r=4, target_modules="all-linear", use_rslora=True, task_type="CAUSAL_LM")),
        ("llama-tiny", peft.LoraConfig(r=4, use_dora=True, target_modules=["k_proj", "down_proj"],
                                       rank_pattern={"down_proj": 2}, alpha_pattern={"down_proj": 7})),
        ("t5-tiny", peft.LoraConfig(r=2, target_modules=["q", "v", "wo"], layers_to_transform=[1],
                                    layers_pattern="block", task_type="SEQ_2_SEQ_LM")),
        ("gpt2-tiny", peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")),
        ("llama-tiny", peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")),
    ],
    ids=str,
)  # fmt: skip
def test_what_peft_made(family: str, config: Any, saved: Save, tmp_path: Path) -> None:
    base = saved(family)
    reference = CLASSES.get(family, transformers.AutoModelForCausalLM).from_pretrained(base)
    theirs = peft.get_peft_model(reference, config).eval()
    stirred(theirs, only_trained=True)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Checkpoint.load(tmp_path / "theirs")
    close(answer(ours.model), their_answer(theirs))
    ours.save(tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(
        CLASSES.get(family, transformers.AutoModelForCausalLM).from_pretrained(base), tmp_path / "ours"
    )
    close(their_answer(again.eval()), their_answer(theirs))


def test_a_head_goes_with_the_adapter(saved: Save, tmp_path: Path) -> None:
    base = saved("bert-tiny")
    head = AnswerConfig(labels=("bad", "good", "so-so"), dense=True)
    ours = Checkpoint.load(base, become=lambda config: ClassifierConfig(base=config, heads={"classify": head}))
    ours = ours.changed(read_change({"rank": 2}), name=str(base))
    stirred(ours.model, only_trained=True)
    expected = answer(ours.model)
    ours.save(tmp_path / "ours")
    again = Checkpoint.load(tmp_path / "ours")
    assert torch.equal(answer(again.model), expected)
    assert not again.loaded.fresh
    written = json.loads((tmp_path / "ours/adapter_config.json").read_text())
    assert written["task_type"] == "SEQ_CLS"
    assert written["modules_to_save"] == ["bert.pooler.dense", "classifier"]
    reference = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    theirs = peft.PeftModel.from_pretrained(reference, tmp_path / "ours").eval()
    with torch.no_grad():
        close(theirs(input_ids=TOKENS).logits, expected)


@pytest.mark.parametrize(
    ("family", "form", "reader", "targets"),
    [
        ("bert-tiny", "SEQ_CLS", transformers.AutoModelForSequenceClassification, ["query"]),
        ("gpt2-tiny", "SEQ_CLS", transformers.AutoModelForSequenceClassification, ["c_attn"]),
        ("llama-tiny", "SEQ_CLS", transformers.AutoModelForSequenceClassification, ["q_proj"]),
        ("bert-tiny", "TOKEN_CLS", transformers.AutoModelForTokenClassification, ["query"]),
    ],
)
def test_what_peft_made_with_a_head(
    family: str, form: str, reader: Any, targets: list[str], saved: Save, tmp_path: Path
) -> None:
    base = saved(family)
    reference = reader.from_pretrained(base, num_labels=3, pad_token_id=0)
    also = ["pooler.dense"] if (family, form) == ("bert-tiny", "SEQ_CLS") else None  # which the base does not have
    config = peft.LoraConfig(
        r=2, target_modules=targets, task_type=form, fan_in_fan_out=family.startswith("gpt2"), modules_to_save=also
    )
    theirs = stirred(peft.get_peft_model(reference, config).eval(), only_trained=True)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Checkpoint.load(tmp_path / "theirs")
    (head,) = ours.config.heads.values()  # type: ignore[union-attr]
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    with torch.no_grad():
        close(answer(ours.model), theirs(input_ids=TOKENS).logits)


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(r=2, target_modules=["c_proj"], bias="all"),
        peft.LoraConfig(r=2, target_modules=["wte"]),
        peft.LoraConfig(r=2, target_modules=["c_attn"], modules_to_save=["lm_head"], fan_in_fan_out=True),
        peft.LoHaConfig(r=2, target_modules=["c_proj"]),
    ],
    ids=lambda config: type(config).__name__,
)
def test_what_we_cannot_do_is_refused(config: Any, saved: Save, tmp_path: Path) -> None:
    base = saved("gpt2-tiny")
    reference = transformers.AutoModelForCausalLM.from_pretrained(base)
    try:
        theirs = peft.get_peft_model(reference, config)
    except (ValueError, TypeError, NotImplementedError):
        pytest.skip("PEFT does not either")
    theirs.save_pretrained(tmp_path / "theirs")
    with pytest.raises(DanluError) as caught:
        Checkpoint.load(tmp_path / "theirs")
    assert caught.value.code in ("E2013", "E2005")


def test_tensors_of_another_shape(saved: Save, tmp_path: Path) -> None:
    base = saved("bert-tiny")
    ours = Checkpoint.load(base).changed(read_change("lora"), name=str(base))
    ours.save(tmp_path / "ours")
    path = tmp_path / "ours/adapter_model.safetensors"
    tensors = load_file(path)
    for change in ("shape", "name", "gone"):
        name = next(iter(tensors))
        broken = dict(tensors)
        tensor = broken.pop(name)
        if change == "shape":
            broken[name] = tensor[:, :-1].contiguous()
        elif change == "name":
            broken[name.replace("layer.", "leyer.")] = tensor
        save_file(broken, path)
        with pytest.raises(DanluError, match="E2005"):
            Checkpoint.load(tmp_path / "ours")


def test_a_classless_base_keeps_our_names(tmp_path: Path) -> None:
    banded = made("gpt3-tiny", window=4)
    banded.save(tmp_path / "base")
    ours = Checkpoint.load(tmp_path / "base").changed(read_change("lora"), name=str(tmp_path / "base"))
    stirred(ours.model, only_trained=True)
    ours.save(tmp_path / "ours")
    assert not (tmp_path / "ours/adapter_config.json").exists()
    assert json.loads((tmp_path / "ours/danlu.json").read_text())["own_format_because"]
    assert torch.equal(answer(Checkpoint.load(tmp_path / "ours").model), answer(ours.model))
    assert build(ours.config)  # the config is the base's own
