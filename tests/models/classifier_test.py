"""Heads: equal to the published classes, both ways; the shortcut through the last block; every form on every family."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.models.build import Model, build
from danlu.models.classifier import Classifier, ClassifierConfig, Form, pool
from danlu.models.families import FAMILIES, fresh
from danlu.models.families.heads import HEADS, answer_config, decodes

LABELS = ("no", "yes", "perhaps")
CLASSES = {
    "row": hf.AutoModelForSequenceClassification, "token": hf.AutoModelForTokenClassification,
    "span": hf.AutoModelForQuestionAnswering, "choice": hf.AutoModelForMultipleChoice, "vector": hf.AutoModel,
}  # fmt: skip
PUBLISHED = [(family, form) for family, forms in HEADS.items() for form in forms if family != "gpt3"]


def made(name: str, form: Form, problem: Any = "single", **more: Any) -> Checkpoint:
    """A small fresh classifier whose every parameter has been moved."""
    family, base = fresh(f"{name}-tiny", 99)
    labels = LABELS if form in ("row", "token") else ()
    head = answer_config(family, form, problem, labels, **more)
    config = ClassifierConfig(base=base, heads={"answer": head}, decodes=decodes(family, form))
    model = build(config, "cpu", 1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    return Checkpoint(family, config, model.eval())


def batch(form: Form, end: int = 2) -> dict[str, Tensor]:
    """Rows of which one is padded; with options where the form has them."""
    shape = (3, 2, 9) if form == "choice" else (3, 9)
    tokens = torch.randint(5, 99, shape, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(shape, dtype=torch.bool)
    tokens[..., -1] = end
    tokens[0, ..., 6:], valid[0, ..., 6:] = 1, False
    tokens[0, ..., 5] = end
    return {"tokens": tokens, "valid": valid}


@pytest.mark.parametrize(("name", "form"), PUBLISHED)
def test_a_published_class_reads_what_we_write_and_answers_the_same(name: str, form: Form, tmp_path: Path) -> None:
    checkpoint = made(name, form)
    checkpoint.save(tmp_path / "model")
    own = hf.AutoConfig.from_pretrained(tmp_path / "model", pad_token_id=1, eos_token_id=2)
    if form == "row":
        assert own.id2label == dict(enumerate(LABELS))
        assert own.problem_type == "single_label_classification"
    kind = hf.T5EncoderModel if form == "vector" and name == "t5" else CLASSES[form]
    kind = hf.MT5EncoderModel if form == "vector" and name == "mt5" else kind
    theirs, loading = kind.from_pretrained(tmp_path / "model", config=own, output_loading_info=True)
    assert not {key for key in loading["missing_keys"] if "pooler" not in key}
    assert not loading["unexpected_keys"]
    given = batch(form)
    with torch.no_grad():
        ours = checkpoint.model(**given)
        found = theirs.eval()(input_ids=given["tokens"], attention_mask=given["valid"].long())
    if form == "span":
        expected = torch.stack([found.start_logits, found.end_logits], -1)
    elif form == "vector":
        expected = torch.nn.functional.normalize(pool(found.last_hidden_state, given["valid"], "mean"), dim=-1)
    else:
        expected = found.logits
    if form in ("token", "span"):
        ours, expected = ours[given["valid"]], expected[given["valid"]]
    assert (ours - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "form"), [pair for pair in PUBLISHED if pair[1] != "vector"])
def test_we_read_what_a_published_class_writes(name: str, form: Form, tmp_path: Path) -> None:
    made(name, form).save(tmp_path / "ours")
    own = hf.AutoConfig.from_pretrained(tmp_path / "ours", pad_token_id=1, eos_token_id=2)
    theirs = CLASSES[form].from_pretrained(tmp_path / "ours", config=own)
    theirs.save_pretrained(tmp_path / "theirs")
    back = Checkpoint.load(tmp_path / "theirs")
    assert isinstance(back.config, ClassifierConfig)
    (head,) = back.config.heads.values()
    assert head.form == form
    assert head.labels == (LABELS if form in ("row", "token") else ())
    assert not back.loaded.fresh
    given = batch(form)
    with torch.no_grad():
        assert torch.allclose(back.model(**given), Checkpoint.load(tmp_path / "ours").model(**given), atol=1e-5)


@pytest.mark.parametrize("problem", ["single", "several", "number"])
def test_what_kind_of_answer_is_kept(problem: str, tmp_path: Path) -> None:
    made("bert", "row", problem).save(tmp_path / "model")
    back = Checkpoint.load(tmp_path / "model")
    assert isinstance(back.config, ClassifierConfig)
    assert back.config.heads["answer"].problem == problem
    (tmp_path / "model/danlu.json").unlink()  # as a folder of someone else's
    assert [head.problem for head in Checkpoint.load(tmp_path / "model").config.heads.values()] == [problem]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(name for name in FAMILIES if FAMILIES[name].kind not in ("dual", "multimodal")))
@pytest.mark.parametrize("form", ["row", "token", "span", "choice", "vector"])
def test_every_family_has_every_head_and_keeps_it(name: str, form: Form, tmp_path: Path) -> None:
    checkpoint = made(name, form)
    checkpoint.save(tmp_path / "model")
    back = Checkpoint.load(tmp_path / "model")
    given = batch(form)
    with torch.no_grad():
        assert torch.allclose(back.model(**given), checkpoint.model(**given), atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "palm", "t5", "bart"])
@pytest.mark.parametrize("padded", [True, False])
def test_the_last_block_is_only_computed_where_it_is_read(name: str, padded: bool) -> None:
    model = made(name, "row").model
    assert isinstance(model, Classifier)
    given = batch("row")
    if not padded:
        del given["valid"]
    with torch.no_grad():
        whole = model.heads["answer"](model.hidden(**given), given.get("valid"))
        counted: list[int] = []
        tower = model.tower or model.decoder or model.encoder
        assert isinstance(tower, nn.Module)
        last = tower.transformer.blocks[-1]  # type: ignore[union-attr, index]
        last.mlp.register_forward_hook(lambda module, inputs, output: counted.append(output.shape[1]))
        assert torch.allclose(model(**given), whole, atol=1e-5)
    at = model.config.heads["answer"].at
    assert counted == [9 if at == "mean" else 1]


def test_a_pretrained_tower_gets_a_head_and_keeps_its_weights(tmp_path: Path) -> None:
    family, config = fresh("bert-tiny", 99, pairs=True)
    base = build(config, "cpu", 3)
    Checkpoint(family, config, base).save(tmp_path / "base")

    def become(found: Any) -> ClassifierConfig:
        return ClassifierConfig(base=found, heads={"a": answer_config(family, "row", "single", LABELS)})

    back = Checkpoint.load(tmp_path / "base", become=become)
    state, before = back.model.state_dict(), base.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in before if name.startswith("tower."))
    assert torch.equal(state["heads.a.dense.weight"], before["pairs.pooler.weight"])
    assert back.loaded.fresh == ("heads.a.output.weight", "heads.a.output.bias")


def test_another_head_on_a_classifier_keeps_the_tower(tmp_path: Path) -> None:
    first = made("bert", "row")
    first.save(tmp_path / "first")

    def become(found: Any) -> ClassifierConfig:
        head = answer_config(first.family, "row", "single", ("a", "b"))
        return ClassifierConfig(base=found.base, heads={"a": head})

    back: Model = Checkpoint.load(tmp_path / "first", become=become).model
    state, before = back.state_dict(), first.model.state_dict()
    assert torch.equal(state["heads.a.dense.weight"], before["heads.answer.dense.weight"])
    assert state["heads.a.output.weight"].shape == (2, before["heads.answer.output.weight"].shape[1])


def test_more_heads_beside_the_ones_there_are(tmp_path: Path) -> None:
    first = made("t5", "row")  # its class puts the tower elsewhere than the pretrained one
    first.save(tmp_path / "first")

    def become(found: Any) -> ClassifierConfig:
        more = answer_config(first.family, "row", "number", ("score",))
        return ClassifierConfig(base=found.base, heads=found.heads | {"more": more}, decodes=found.decodes)

    back = Checkpoint.load(tmp_path / "first", become=become)
    assert set(back.loaded.fresh) == {f"heads.more.{part}" for part in ("dense.weight", "dense.bias", "output.weight",
                                                                        "output.bias")}  # fmt: skip
    assert isinstance(back.model, Classifier)
    given = batch("row")
    with torch.no_grad():
        both = back.model.answers(["answer", "more"], **given)
        assert torch.allclose(both["answer"], first.model(**given), atol=1e-6)
    back.save(tmp_path / "second")
    again = Checkpoint.load(tmp_path / "second").model
    assert isinstance(again, Classifier)
    with torch.no_grad():
        assert torch.allclose(again.answers(["more"], **given)["more"], both["more"], atol=1e-6)
