"""LLaVA against the published implementation, both directions."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.families import FAMILIES, fresh

TRUNKS = {"llama": transformers.LlamaConfig, "mistral": transformers.MistralConfig, "qwen2": transformers.Qwen2Config}
MEDIA, V = 49, 52


def reference(trunk: str, seed: int) -> Any:
    draw = random.Random(seed)
    heads = draw.choice([1, 2, 4])
    vision = transformers.CLIPVisionConfig(
        hidden_size=heads * 8, num_hidden_layers=3, num_attention_heads=heads, image_size=24, patch_size=8,
        intermediate_size=20,
    )  # fmt: skip
    text = TRUNKS[trunk](
        hidden_size=heads * 12, num_hidden_layers=2, num_attention_heads=heads, num_key_value_heads=1,
        intermediate_size=32, vocab_size=V, tie_word_embeddings=draw.random() < 0.5,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=MEDIA,
        vision_feature_layer=draw.choice([-2, -1, 1]), tie_word_embeddings=text.tie_word_embeddings,
    )  # fmt: skip
    model = transformers.LlavaForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("seed", range(2))
def test_llava(trunk: str, seed: int, tmp_path: Path) -> None:
    theirs = reference(trunk, seed)
    theirs.save_pretrained(tmp_path / "theirs")
    tokens = torch.tensor([[1, 2, *[MEDIA] * 9, 5, 6, 7], [3, *[MEDIA] * 9, 4, 5, 6, 8]])
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        wanted = theirs(input_ids=tokens, pixel_values=images).logits
        ours = Checkpoint.load(tmp_path / "theirs")
        assert not ours.loaded.fresh
        assert (ours.model(tokens, images=images) - wanted).abs().max() < 1e-4
        ours.save(tmp_path / "ours")
        again, told = transformers.LlavaForConditionalGeneration.from_pretrained(
            tmp_path / "ours", output_loading_info=True
        )
        assert not any(told.values())
        assert (again.eval()(input_ids=tokens, pixel_values=images).logits - wanted).abs().max() < 1e-4
    assert Checkpoint.load(tmp_path / "ours").replay().holds


def test_older_names_are_read(tmp_path: Path) -> None:
    """Files before 2026 have a part more in the names of the tower."""
    ours = Checkpoint(FAMILIES["llava"], *_fresh())
    ours.save(tmp_path / "one")
    from safetensors.torch import load_file

    assert any(name.startswith("vision_tower.vision_model.") for name in load_file(tmp_path / "one/model.safetensors"))
    assert Checkpoint.load(tmp_path / "one").replay().holds


def _fresh() -> Any:
    from danlu.models.build import build

    config = fresh("llava-tiny", V)[1]
    return config, build(config)


@pytest.mark.parametrize(
    "change",
    [
        {"vision_feature_select_strategy": "full"},
        {"vision_config": {"model_type": "siglip_vision_model"}},
        {"text_config": {"model_type": "gemma"}},
    ],
    ids=str,
)
def test_what_ours_cannot_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(DanluError, match="E1407"):
        FAMILIES["llava"].read({"model_type": "llava", **change})
