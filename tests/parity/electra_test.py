"""ELECTRA's two halves against ElectraForPreTraining and ElectraForMaskedLM, both ways."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import build, parameters
from danlu.models.families import fresh

TOKENS = torch.randint(5, 90, (2, 12), generator=torch.Generator().manual_seed(0))
SEGMENTS = (torch.arange(12) > 5).long().expand(2, -1)
VALID = torch.arange(12).expand(2, -1) < torch.tensor([[12], [9]])
CLASSES = {"detector": transformers.ElectraForPreTraining, "generator": transformers.ElectraForMaskedLM}


def perturbed(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            chance = torch.Generator().manual_seed(number)
            parameter += 0.1 * torch.randn(parameter.shape, generator=chance)


def logits_of(model: Any) -> torch.Tensor:
    found = model(TOKENS, VALID, segments=SEGMENTS)
    return found.squeeze(-1) if model.config.detector else found


@pytest.mark.parametrize("table_width", [16, None])
@pytest.mark.parametrize("part", list(CLASSES))
def test_ours_is_theirs_and_theirs_is_ours(tmp_path: Path, part: str, table_width: int | None) -> None:
    family, config = fresh("electra-tiny", 99, width=24, heads=2, table_width=table_width, part=part, initial="normal")
    model = build(config).eval()
    perturbed(model)
    Checkpoint(family, config, model).save(tmp_path / "ours")
    theirs, told = CLASSES[part].from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    theirs.eval()
    with torch.no_grad():
        answer = theirs(TOKENS, attention_mask=VALID.long(), token_type_ids=SEGMENTS).logits
        torch.testing.assert_close(logits_of(model)[VALID], answer[VALID], rtol=0, atol=1e-4)
    perturbed(theirs)
    theirs.save_pretrained(tmp_path / "theirs")
    again = Checkpoint.load(tmp_path / "theirs")
    assert again.config == config
    assert not again.loaded.fresh
    assert not again.loaded.unread
    with torch.no_grad():
        answer = theirs(TOKENS, attention_mask=VALID.long(), token_type_ids=SEGMENTS).logits
        torch.testing.assert_close(logits_of(again.model)[VALID], answer[VALID], rtol=0, atol=1e-4)
    again.save(tmp_path / "again")
    kept, written = (load_file(tmp_path / place / "model.safetensors") for place in ("theirs", "again"))
    assert all(torch.equal(kept[name], tensor) for name, tensor in written.items() if name in kept)


def test_the_two_share_their_tables_and_the_generator_is_small() -> None:
    _, config = fresh("electra-small", 1000, part="both")
    model: Any = build(config)
    generator = model.generator
    assert generator.tower.embedding.tokens.weight is model.tower.embedding.tokens.weight
    assert generator.tower.embedding.positions.weight is model.tower.embedding.positions.weight
    assert generator.head.output.weight is model.tower.embedding.tokens.weight
    assert (config.generator.transformer.width, config.generator.transformer.attention.heads) == (64, 1)
    assert parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    _, base = fresh("electra-base", part="both")
    assert (base.generator.transformer.width, base.generator.transformer.mlp.inner) == (256, 1024)


def test_both_in_one_folder_keep_our_format(tmp_path: Path) -> None:
    family, config = fresh("electra-tiny", 99, width=24, heads=2, part="both", initial="normal")
    Checkpoint(family, config, build(config).eval()).save(tmp_path / "both")
    again: Any = Checkpoint.load(tmp_path / "both")
    assert again.config == config
    assert again.model.generator.tower.embedding.tokens.weight is again.model.tower.embedding.tokens.weight


def test_a_detector_has_no_words() -> None:
    model: Any = build(fresh("electra-tiny", 99, width=24, heads=2, part="detector")[1])
    with pytest.raises(DanluError, match="E1411"):
        model.head(model.hidden(TOKENS))
