"""A saved model comes back whole, and transformers reads it as it stands."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from danlu.checkpoint import Checkpoint, damaged_files
from danlu.errors import DanluError
from danlu.models.families import FAMILIES

Make = Callable[..., Checkpoint]
CLASSES = {
    "masked": transformers.AutoModelForMaskedLM, "causal": transformers.AutoModelForCausalLM,
    "sequence_to_sequence": transformers.AutoModelForSeq2SeqLM,
    "dual": transformers.AutoModel,
}  # fmt: skip


def states_equal(left: torch.nn.Module, right: torch.nn.Module) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", FAMILIES)
def test_there_and_back(name: str, make: Make, tmp_path: Path) -> None:
    before = make(name)
    after = Checkpoint.load(before.save(tmp_path / "m"))
    assert states_equal(before.model, after.model)
    assert (after.family, after.config, after.lineage) == (before.family, before.config, before.lineage)
    assert after.tokenizer is not None
    assert before.tokenizer is not None
    assert after.tokenizer.fingerprint == before.tokenizer.fingerprint
    assert after.replay().difference < 1e-6
    assert after.replay().holds
    assert damaged_files(tmp_path / "m") == []
    assert Checkpoint.peek(tmp_path / "m") == (before.family, before.config)


@pytest.mark.parametrize(
    "name",
    [name for name, family in FAMILIES.items() if family.kind != "multimodal" and name not in ("gpt3", "electra")],
)
def test_transformers_reads_the_folder(name: str, make: Make, tmp_path: Path) -> None:
    ours = make(name)
    ours.save(tmp_path / "m")
    theirs, report = CLASSES[ours.family.kind].from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not any(report.values()), report
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    assert ours.tokenizer is not None
    ids = ours.tokenizer.frame(ours.tokenizer.encode("the cat 今天"))
    assert tokenizer("the cat 今天")["input_ids"] == ids
    rows = torch.tensor([ids])
    with torch.no_grad():
        if ours.family.kind == "dual":
            images = torch.rand(2, 3, ours.config.size, ours.config.size)
            difference = theirs.eval()(input_ids=rows, pixel_values=images).logits_per_image - ours.model(rows, images)
        elif ours.family.kind == "sequence_to_sequence":
            difference = theirs.eval()(input_ids=rows, decoder_input_ids=rows).logits - ours.model(rows, rows)
        else:
            difference = theirs.eval()(input_ids=rows).logits - ours.model(rows)
    assert difference.abs().max() < 1e-4
    for role, key in (("end", "eos_token_id"), ("pad", "pad_token_id")):
        if role in ours.tokenizer.special and name not in ("bert",):
            assert getattr(theirs.config, key) == ours.tokenizer.special[role]


def test_a_tied_tensor_is_stored_once(make: Make, tmp_path: Path) -> None:
    names = load_file(make("gpt2").save(tmp_path / "m") / "model.safetensors")
    assert "transformer.wte.weight" in names
    assert "lm_head.weight" not in names


def test_parts(make: Make, tmp_path: Path) -> None:
    before = make("llama")
    before.save(tmp_path / "m", shard=20_000)
    parts = sorted((tmp_path / "m").glob("model-*.safetensors"))
    index = json.loads((tmp_path / "m/model.safetensors.index.json").read_text())
    assert len(parts) > 2
    assert sorted(set(index["weight_map"].values())) == [part.name for part in parts]
    assert states_equal(Checkpoint.load(tmp_path / "m").model, before.model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert torch.equal(theirs.model.embed_tokens.weight, before.model.state_dict()["tower.embedding.tokens.weight"])


def test_dtype_and_device(saved: Path) -> None:
    half = Checkpoint.load(saved, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    assert half.replay().holds
    assert half.replay().difference > 0
    assert Checkpoint.load(saved, device="cpu").dtype == torch.float32


def test_a_half_precision_model_keeps_its_precision(saved: Path, tmp_path: Path) -> None:
    Checkpoint.load(saved, dtype=torch.bfloat16).save(tmp_path / "half")
    assert Checkpoint.load(tmp_path / "half").dtype == torch.bfloat16
    assert transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "half").dtype == torch.bfloat16


def test_what_no_published_class_expresses_keeps_our_names(make: Make, tmp_path: Path) -> None:
    before = make("gpt3")
    before.save(tmp_path / "m")
    assert json.loads((tmp_path / "m/danlu.json").read_text())["own_format_because"]
    dense = make("gpt2")
    dense.save(tmp_path / "dense")
    assert json.loads((tmp_path / "dense/danlu.json").read_text())["own_format_because"] is None
    # a family handed a config its class has no words for
    odd = Checkpoint(FAMILIES["bert"], dense.config, dense.model, dense.tokenizer)
    odd.save(tmp_path / "odd")
    again = Checkpoint.load(tmp_path / "odd")
    assert json.loads((tmp_path / "odd/config.json").read_text())["model_type"] == "danlu"
    assert states_equal(again.model, dense.model)
    assert again.replay().holds


def test_saving_replaces_whole_folders_and_leaves_nothing(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("bert").save(tmp_path / "m")
    first = (tmp_path / "m/model.safetensors").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("danlu.checkpoint.folder.write_golden", full)
        with pytest.raises(OSError, match="No space"):
            make("bert", seed=2).save(tmp_path / "m")
    assert (tmp_path / "m/model.safetensors").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    make("bert", seed=2).save(tmp_path / "m")
    assert (tmp_path / "m/model.safetensors").read_bytes() != first
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_replay_and_hashes_find_a_changed_model(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    path = tmp_path / "m/model.safetensors"
    tensors = load_file(path)
    tensors["bert.encoder.layer.1.output.dense.weight"] += 0.1 * torch.randn(32, 128)
    save_file(tensors, path, metadata={"format": "pt"})
    assert not Checkpoint.load(tmp_path / "m").replay().holds
    assert damaged_files(tmp_path / "m") == ["model.safetensors"]


def test_golden_samples_of_another_model(saved: Path, make: Make, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    (tmp_path / "m/golden.json").unlink()
    with pytest.raises(DanluError, match="E1429"):
        Checkpoint.load(tmp_path / "m").replay()
    with pytest.raises(DanluError, match="E1429"):
        make("bert").replay()


def test_tensors_a_file_lacks_are_named(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    path = tmp_path / "m/model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("cls.")}
    save_file({**tensors, "bert.pooler.dense.bias": torch.zeros(32)}, path, metadata={"format": "pt"})
    loaded = Checkpoint.load(tmp_path / "m").loaded
    assert "head.transform.dense.weight" in loaded.fresh
    assert loaded.unread == ("bert.pooler.dense.bias",)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hidden_size": 64}, "E1404"), ({"vocab_size": 2_000_001}, "E1408"), ({"num_hidden_layers": 2_000}, "E1408"),
        ({"hidden_size": 131_072}, "E1408"), ({"num_hidden_layers": 3}, "E1402"), ({"num_hidden_layers": 1}, "E1403"),
        ({"model_type": "mamba"}, "E1410"), ({"hidden_act": "tanh"}, "E1407"), ({"hidden_size": None}, "E1408"),
        ({"position_embedding_type": "relative_key"}, "E1407"),
    ],
)  # fmt: skip
def test_a_config_that_is_not_the_weights(change: dict[str, object], code: str, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    path = tmp_path / "m/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DanluError) as caught:
        Checkpoint.load(tmp_path / "m")
    assert caught.value.code == code


def test_more_than_the_memory_is_refused_before_loading(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.checkpoint.limits.os.sysconf", lambda name: 100)
    with pytest.raises(DanluError, match="E1430"):
        Checkpoint.load(saved)


@pytest.mark.parametrize(
    ("record", "code"),
    [({"format": 99}, "E1421"), ({"changes": [{"kind": "lora"}]}, "E1421"), ({"lineage": 3}, "E1421")],
)
def test_a_record_from_the_future(record: dict[str, object], code: str, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    (tmp_path / "m/danlu.json").write_text(json.dumps(record))
    with pytest.raises(DanluError, match=code):
        Checkpoint.load(tmp_path / "m")
