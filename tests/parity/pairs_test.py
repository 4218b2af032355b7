"""BERT with its second head, against BertForPreTraining."""

from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

from danlu.checkpoint import Checkpoint
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.models.language import LanguageModel

TOKENS = torch.randint(5, 90, (2, 12), generator=torch.Generator().manual_seed(0))
SEGMENTS = (torch.arange(12) > 5).long().expand(2, -1)


def perturbed(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            chance = torch.Generator().manual_seed(number)
            parameter += 0.1 * torch.randn(parameter.shape, generator=chance)


def test_both_heads_are_read_by_transformers_and_read_back(tmp_path: Path) -> None:
    family, config = fresh("bert-tiny", 99, width=24, heads=2, pairs=True, initial="normal")
    model = build(config)
    assert isinstance(model, LanguageModel)
    perturbed(model)
    Checkpoint(family, config, model.eval()).save(tmp_path / "ours")
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path / "ours").eval()
    hidden = model.hidden(TOKENS, segments=SEGMENTS)
    assert model.pairs is not None
    with torch.no_grad():
        answer = theirs(TOKENS, token_type_ids=SEGMENTS)
        torch.testing.assert_close(model.head(hidden), answer.prediction_logits, rtol=0, atol=1e-4)
        torch.testing.assert_close(model.pairs(hidden[:, 0]), answer.seq_relationship_logits, rtol=0, atol=1e-4)
    theirs.save_pretrained(tmp_path / "theirs")
    again = Checkpoint.load(tmp_path / "theirs")
    assert again.config == config
    assert not again.loaded.fresh
    assert not again.loaded.unread
    kept, written = (load_file(tmp_path / place / "model.safetensors") for place in ("ours", "theirs"))
    assert kept.keys() == written.keys()
    assert all(torch.equal(kept[name], written[name]) for name in kept)


def test_a_family_without_such_a_head_keeps_its_own_format(tmp_path: Path) -> None:
    family, config = fresh("roberta-tiny", 99, width=24, heads=2, pairs=True)
    Checkpoint(family, config, build(config).eval()).save(tmp_path / "model")
    again = Checkpoint.load(tmp_path / "model")
    assert again.config == config
    assert isinstance(again.model, LanguageModel)
    assert again.model.pairs is not None
