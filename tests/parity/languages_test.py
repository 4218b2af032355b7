"""Language embeddings against the published XLM, with positions that begin again."""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from danlu.models.build import build
from danlu.models.families import family_of
from danlu.models.weights import export, load

NAMES = {"en": 0, "de": 1, "fr": 2}


def test_languages_and_positions_mean_the_same(tmp_path: Path) -> None:
    config = transformers.XLMConfig(
        vocab_size=60, emb_dim=16, n_layers=2, n_heads=2, n_langs=3, lang2id=NAMES, max_position_embeddings=20
    )
    theirs = transformers.XLMWithLMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    published = json.loads((tmp_path / "config.json").read_text())
    family = family_of(published)
    ours = build(family.read(published), "meta")
    load(ours, load_file(tmp_path / "model.safetensors"), family.table(ours.config))
    assert ours.config.embedding.languages == ("en", "de", "fr")

    tokens = torch.randint(6, 60, (2, 12))
    languages = torch.tensor([[0] * 6 + [1] * 6, [2] * 12])
    positions = torch.tensor([[*range(6), *range(6)], [*range(12)]])
    with torch.no_grad():
        expected = theirs(input_ids=tokens, langs=languages, position_ids=positions).logits
        given = ours.eval()(tokens, languages=languages, positions=positions)
        untold = ours(tokens, positions=positions)
    assert torch.allclose(given, expected, atol=1e-4)
    assert not torch.allclose(given, untold, atol=1e-2)

    again = tmp_path / "again"
    again.mkdir()
    (again / "config.json").write_text(json.dumps(family.write(ours.config)))
    save_file(export(ours, family.table(ours.config)), again / "model.safetensors", {"format": "pt"})
    reloaded = transformers.XLMWithLMHeadModel.from_pretrained(again).eval()
    assert reloaded.config.lang2id == NAMES
    with torch.no_grad():
        found = reloaded(input_ids=tokens, langs=languages, position_ids=positions).logits
    assert torch.allclose(found, expected, atol=1e-5)
