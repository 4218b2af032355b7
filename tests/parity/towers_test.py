"""CLIP, ChineseCLIP, SigLIP and ALIGN against the published implementations, both directions."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

from danlu.checkpoint import Checkpoint
from danlu.models.build import build, parameters
from danlu.models.dual import DualEncoder
from danlu.models.eyes import default_processor
from danlu.models.families import FAMILIES, family_of, fresh
from danlu.models.weights import export, load

QUICK = 3
Draw = random.Random


def shape(draw: Draw) -> dict[str, Any]:
    heads = draw.choice([1, 2, 3, 5])
    return {
        "hidden_size": heads * draw.choice([4, 8, 12]), "intermediate_size": draw.randint(8, 60),
        "num_hidden_layers": draw.randint(1, 3), "num_attention_heads": heads,
        "hidden_act": draw.choice(["gelu", "quick_gelu", "gelu_pytorch_tanh"]), "layer_norm_eps": 1e-5,
    }  # fmt: skip


def text(draw: Draw) -> dict[str, Any]:
    ids = {"bos_token_id": 0, "pad_token_id": 1}
    return shape(draw) | ids | {"vocab_size": draw.randint(60, 99), "max_position_embeddings": draw.randint(12, 30)}


def pictures(draw: Draw) -> dict[str, Any]:
    patch = draw.choice([4, 7, 8])
    return shape(draw) | {"image_size": patch * draw.randint(2, 5) + draw.randint(0, 3), "patch_size": patch}


def clip(draw: Draw) -> Any:
    side = text(draw) | {"eos_token_id": draw.choice([2, 59])}
    config = transformers.CLIPConfig(text_config=side, vision_config=pictures(draw), projection_dim=draw.randint(8, 40))
    return transformers.CLIPModel(config)


def chinese_clip(draw: Draw) -> Any:
    side = text(draw) | {"hidden_act": "gelu"}
    config = transformers.ChineseCLIPConfig(text_config=side, vision_config=pictures(draw), projection_dim=24)
    return transformers.ChineseCLIPModel(config)


def siglip(draw: Draw) -> Any:
    heads = {name: value for name, value in shape(draw).items() if name in ("hidden_size", "num_attention_heads")}
    side = text(draw) | heads | {"eos_token_id": 2}
    config = transformers.SiglipConfig(text_config=side, vision_config=pictures(draw) | heads)
    return transformers.SiglipModel(config)


def align(draw: Draw) -> Any:
    side = text(draw) | {"hidden_act": "gelu", "eos_token_id": None}
    vision = {
        "image_size": draw.choice([64, 65, 96]), "width_coefficient": draw.choice([0.25, 0.5]),
        "depth_coefficient": draw.choice([1.0, 1.2]), "depthwise_padding": draw.choice([[], [5]]),
    }  # fmt: skip
    vision["hidden_dim"] = width = int(vision["width_coefficient"] * 320)
    config = transformers.AlignConfig(text_config=side, vision_config=vision, projection_dim=width)
    return transformers.AlignModel(config)


REFERENCES: dict[str, tuple[Callable[[Draw], Any], float]] = {
    "clip": (clip, 1e-4), "chinese-clip": (chinese_clip, 1e-4), "siglip": (siglip, 1e-4), "align": (align, 1e-3),
}  # fmt: skip


def disturbed(model: Any, seed: int) -> Any:
    """Every tensor moved, running statistics too; similarities multiplied by about ten."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=draw) * 0.1
        if name in ("logit_scale", "temperature"):
            tensor.copy_(torch.full_like(tensor, math.log(10) if name == "logit_scale" else 0.1))
        elif name.endswith("running_var"):
            tensor.copy_(1 + noise.abs())
        else:
            tensor.copy_(noise + (1.0 if tensor.ndim < 2 and name.endswith("weight") else 0.0))
    return model.eval()


def inputs(config: Any, draw: Draw) -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(draw.randint(0, 99))
    tokens = torch.randint(3, 59, (3, 10), generator=chance)
    tokens[:, -1] = 59
    tokens[0, 4:] = 59
    return {"tokens": tokens, "images": torch.randn(2, 3, config.size, config.size, generator=chance)}


@pytest.mark.parametrize("seed", range(QUICK))
@pytest.mark.parametrize("name", REFERENCES)
def test_answers_and_files_are_equal(name: str, seed: int, tmp_path: Path) -> None:
    make, tolerance = REFERENCES[name]
    draw = random.Random(f"{name} {seed}")
    theirs = disturbed(make(draw), seed)
    family = family_of(theirs.config.to_dict())
    assert family is FAMILIES[name]
    config = family.read(theirs.config.to_dict())
    model = build(config, "meta")
    loaded = load(model, theirs.state_dict(), family.table(config))
    assert not loaded.fresh
    assert parameters(config) == sum(each.numel() for each in model.parameters())
    given = inputs(config, draw)
    with torch.no_grad():
        ours = model.eval()(**given)
        reference = theirs(input_ids=given["tokens"], pixel_values=given["images"]).logits_per_image
    assert reference.std() > 0.01
    assert (ours - reference).abs().max() <= tolerance

    (tmp_path / "config.json").write_text(json.dumps(family.write(config)), encoding="utf8")
    save_file(export(model, family.table(config)), tmp_path / "model.safetensors", {"format": "pt"})
    again, report = type(theirs).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        back = again.eval()(input_ids=given["tokens"], pixel_values=given["images"]).logits_per_image
    assert (back - reference).abs().max() <= tolerance


def test_padding_is_not_seen_by_a_bert() -> None:
    draw = random.Random(5)
    theirs = disturbed(align(draw), 5)
    family = family_of(theirs.config.to_dict())
    config = family.read(theirs.config.to_dict())
    model = build(config, "meta")
    load(model, theirs.state_dict(), family.table(config))
    given = inputs(config, draw)
    valid = torch.ones_like(given["tokens"])
    valid[1, 5:] = 0
    with torch.no_grad():
        ours = model.eval()(**given, valid=valid)
        reference = theirs(
            input_ids=given["tokens"], pixel_values=given["images"], attention_mask=valid
        ).logits_per_image
    assert (ours - reference).abs().max() <= 1e-3
    assert (ours - model(**given)).abs().max() > 1e-3


@pytest.mark.parametrize("name", REFERENCES)
def test_a_folder_keeps_how_pictures_are_prepared(name: str, tmp_path: Path) -> None:
    family, config = fresh(f"{name}-tiny", 50)
    model = build(config)
    assert isinstance(model, DualEncoder)
    processor = default_processor(config).model_copy(update={"resampling": "lanczos"})
    Checkpoint(family, config, model.eval(), processor=processor).save(tmp_path / "m")
    back = Checkpoint.load(tmp_path / "m")
    assert back.processor == processor
    assert back.replay().holds
    (tmp_path / "m" / "preprocessor_config.json").unlink()
    assert Checkpoint.load(tmp_path / "m").processor == default_processor(config)


def test_pictures_of_another_size() -> None:
    """Positions are stretched as the reference stretches them."""
    theirs = disturbed(clip(random.Random(3)), 3)
    family = family_of(theirs.config.to_dict())
    config = family.read(theirs.config.to_dict())
    model = build(config, "meta")
    load(model, theirs.state_dict(), family.table(config))
    patch = theirs.config.vision_config.patch_size
    images = torch.randn(2, 3, patch * 6, patch * 6)
    with torch.no_grad():
        ours = model.eval().embed_image(images)
        reference = theirs.get_image_features(images, interpolate_pos_encoding=True).pooler_output
    assert (ours - torch.nn.functional.normalize(reference, dim=-1)).abs().max() < 1e-4
