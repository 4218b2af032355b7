"""LLaVA (Liu et al. 2023): a CLIP tower, a projector of two layers, and a decoder of the Llama shape.

The published class reads the states of the tower's last layer but one. Ours is built without the layers above the one
that is read; the norm behind them, which nobody computes, is written as the identity.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from danlu.errors import DanluError
from danlu.models.dual import SimilarityConfig
from danlu.models.families.clip import PICTURES
from danlu.models.families.family import (
    MINI,
    TINY,
    Family,
    Hf,
    activation,
    only,
    published_activation,
)
from danlu.models.families.llama import LLAMA, MISTRAL, QWEN2, QWEN3, llama
from danlu.models.families.seeing import MARKS, MINI_EYES, SIGMOID, TINY_EYES
from danlu.models.families.towers import CLIP_PICTURES, pictures, read_stack, stack, write_pictures
from danlu.models.language import LanguageModelConfig
from danlu.models.multimodal import MultimodalConfig, ProjectorConfig
from danlu.models.weights import Stored, Table
from danlu.vision.tower import PictureConfig

TRUNKS = (LLAMA, MISTRAL, QWEN2, QWEN3)
TOWER, NESTED = "vision_tower.", "vision_tower.vision_model."  # newer files leave the second part out
EPS = 1e-5


def llava(
    *, width: int, depth: int, heads: int, kv_heads: int | None = None, inner: int | None = None,
    vocabulary: int = 32_064, length: int = 4096, dropout: float = 0.0, attention_dropout: float = 0.0,
    image_width: int | None = None, image_depth: int | None = None, image_heads: int | None = None, size: int = 336,
    patch: int = 14, shuffle: int = 1, axes: bool = False, both_ways: bool = False, common: int | None = None,
    ids: tuple[int, int, int] | None = None,
) -> MultimodalConfig:  # fmt: skip
    """width, depth, heads: of the decoder, and of pictures where image_* is not said. shuffle: so many vectors along
    each edge become one. axes: positions on three axes. both_ways: the vectors of a picture see each other. common: the
    width of a space that texts, pictures and films share. With any of these four, no published class computes it."""
    wide, deep, many = image_width or width, image_depth or depth, image_heads or heads
    trunk = llama(
        width=width, depth=depth, heads=heads, kv_heads=kv_heads, inner=inner, vocabulary=vocabulary, length=length,
        dropout=dropout, attention_dropout=attention_dropout,
    )  # fmt: skip
    tower = pictures(stack(wide, deep, many, None, "quick_gelu", EPS, 0.0), size, patch, clip=True)
    opening, media, closing = ids or tuple(range(vocabulary - 3, vocabulary))
    given = {"before": (opening,), "after": (closing,), "axes": axes, "both_ways": both_ways, "common": common}
    return joined(trunk, tower, media, ProjectorConfig(shuffle=shuffle), **given)


def joined(
    trunk: LanguageModelConfig, tower: PictureConfig, media: int, projector: ProjectorConfig, **given: Any
) -> MultimodalConfig:
    """A language model with a tower of pictures, of which every layer is read; no norm follows it."""
    plain = tower.transformer.model_copy(update={"final_norm": False})
    shared = {"similarity": SimilarityConfig(**SIGMOID)} if given.get("common") else {}
    return MultimodalConfig(
        **{name: value for name, value in trunk if name in KEPT},
        image=tower.model_copy(update={"transformer": plain, "pool": "summary"}),
        projector=projector,
        media=media,
        **{"both_ways": False, **shared, **given},
    )


KEPT = set(LanguageModelConfig.model_fields) - {"kind"}


def read(hf: Hf) -> MultimodalConfig:
    text, vision = dict(hf.get("text_config") or {}), dict(hf.get("vision_config") or {})
    only(hf, vision_feature_select_strategy="default", multimodal_projector_bias=True)
    only(vision, model_type="clip_vision_model")
    family = next((each for each in TRUNKS if text.get("model_type", "llama") in each.model_types), None)
    if family is None:
        possible = [name for each in TRUNKS for name in each.model_types]
        raise DanluError("E1407", name="text_config.model_type", found=text.get("model_type"), possible=possible)
    trunk = family.reader({"model_type": "llama", **text})
    assert isinstance(trunk, LanguageModelConfig)
    known = {**PICTURES, **vision}
    layers, read_at = known["num_hidden_layers"], hf.get("vision_feature_layer", -2)
    depth = read_at if read_at >= 0 else layers + 1 + read_at
    tower = pictures(
        read_stack(known | {"num_hidden_layers": depth}, PICTURES), known["image_size"], known["patch_size"], True,
        known.get("num_channels", 3),
    )  # fmt: skip
    own = hf.get("danlu") or {}
    around = {name: tuple(own[name]) for name in ("before", "after") if name in own}
    projector = ProjectorConfig(activation=activation(hf.get("projector_hidden_act", "gelu")))
    return joined(trunk, tower, hf.get("image_token_index", hf.get("image_token_id", 32_000)), projector, **around)


def write(config: MultimodalConfig) -> dict[str, Any]:
    if not isinstance(config.image, PictureConfig) or config.common or config.axes or config.both_ways:
        raise ValueError("patches without a tower, a common space, axes, or pictures that see both ways")
    text = _trunk(config)
    ids = {name: text.pop(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name in text}
    return ids | {
        "model_type": "llava",
        "architectures": ["LlavaForConditionalGeneration"],
        "text_config": text,
        "vision_config": write_pictures(config.image) | {"model_type": "clip_vision_model"},
        "image_token_index": config.media,
        "image_seq_length": config.each,
        "projector_hidden_act": published_activation(config.projector.activation),
        "multimodal_projector_bias": True,
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": config.head.tied,
        "danlu": {"before": list(config.before), "after": list(config.after)},
    }


def _trunk(config: MultimodalConfig) -> dict[str, Any]:
    """The decoder as the first published class that computes it says it."""
    plain = LanguageModelConfig(**{name: getattr(config, name) for name in KEPT})
    for family in TRUNKS:
        try:
            return family.write(plain)
        except DanluError:
            continue
    raise ValueError("no published decoder computes the trunk")


def table(config: MultimodalConfig) -> Table:
    assert isinstance(config.image, PictureConfig)
    trunk = LLAMA.table(config)
    names: dict[str, str | Stored] = {ours: f"language_model.{theirs}" for ours, theirs in trunk.names.items()}
    vision = {ours: _moved(theirs) for ours, theirs in CLIP_PICTURES.items() if ours != "image.transformer.norm"}
    projector = {"projector.up": "multi_modal_projector.linear_1", "projector.down": "multi_modal_projector.linear_2"}
    width = config.image.width
    return Table(
        names | vision | projector,
        aliases=_newer(config.image),
        optional=("head.",) if config.head.tied else (),
        spare=(r"vision_tower\..*encoder\.layers\..*", r"vision_tower\.post_layernorm\..*"),
        buffers=(r".*rotary_emb\.inv_freq", r"vision_tower\..*position_ids"),
        blanks={f"{NESTED}post_layernorm.{name}": each for name, each in _identity(width).items()},
    )


def _identity(width: int) -> Mapping[str, Tensor]:
    return {"weight": torch.ones(width), "bias": torch.zeros(width)}


def _moved(theirs: str | Stored) -> str:
    assert isinstance(theirs, str)
    return theirs.replace("vision_model.", NESTED, 1)


def _newer(image: PictureConfig) -> dict[str, str]:
    """Their names since 2026 of every tensor of the tower -> the published one."""
    names = [theirs for ours, theirs in CLIP_PICTURES.items() if ours != "image.transformer.norm"]
    found = {}
    for name in map(_moved, names):
        for layer in range(image.transformer.depth) if "*" in name else (0,):
            for suffix in ("", ".weight", ".bias"):
                full = name.replace("*", str(layer)) + suffix
                found[full.replace(NESTED, TOWER, 1)] = full
    return found


EYES: dict[str, Any] = {"image_width": 1024, "image_depth": 23, "image_heads": 16}
LLAVA = Family(
    name="llava",
    kind="multimodal",
    model_types=("llava",),
    make=llava,
    reader=read,
    writer=write,
    table=table,
    sizes={
        "tiny": TINY | TINY_EYES | {"common": None},
        "mini": MINI | MINI_EYES | {"common": None},
        "small": {"width": 512, "depth": 6, "heads": 8, "length": 1024, "size": 224, "patch": 16},
        "base": {"width": 768, "depth": 12, "heads": 12, "length": 2048, "size": 224, "patch": 16},
        "large": {"width": 2048, "depth": 24, "heads": 16} | EYES,
        "7b": {"width": 4096, "depth": 32, "heads": 32, "inner": 11_008} | EYES,
        "13b": {"width": 5120, "depth": 40, "heads": 40, "inner": 13_824} | EYES,
    },
    tokenizer=LLAMA.tokenizer,
    specials=LLAMA.specials,
    frame=LLAMA.frame,
    pattern=LLAMA.pattern,
    extra_tokens=MARKS,
    en="a CLIP tower, a projector and a Llama: the published way to let a language model see",
    zh="CLIP 图像塔 + 投影层 + Llama：让语言模型看图的通行做法",
)
