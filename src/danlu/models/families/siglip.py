"""SigLIP (Zhai et al. 2023): towers alike but for a pooling by attention; every pair is judged by itself."""

import math
from typing import Any

from danlu.models.dual import DualConfig, SimilarityConfig
from danlu.models.families.family import MINI_TEXT, TINY_TEXT, Family, Hf
from danlu.models.families.towers import (
    MINI_PICTURES,
    PLAIN_PICTURES,
    PLAIN_TEXT,
    POSITION_IDS,
    TINY_PICTURES,
    Names,
    pictures,
    read_pictures,
    read_stack,
    side,
    stack,
    write_pictures,
    write_stack,
)
from danlu.models.weights import Stored, Table
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.mlp import ActivationName
from danlu.nn.positions import LearnedPositions

SIMILARITY = SimilarityConfig(start=math.log(10), bias=-10.0)
SHAPE: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
TEXT = SHAPE | {"vocab_size": 32_000, "max_position_embeddings": 64}
PICTURES = SHAPE | {"image_size": 224, "patch_size": 16}


def siglip(
    *, width: int, depth: int, heads: int, inner: int | None = None, vocabulary: int = 32_000, length: int = 64,
    size: int = 224, patch: int = 16, activation: ActivationName = "gelu_tanh", dropout: float = 0.0,
) -> DualConfig:  # fmt: skip
    """Both towers are of one width, which is that of the common space. dropout: on attention weights."""
    tower = stack(width, depth, heads, inner, activation, 1e-6, dropout)
    return DualConfig(
        embedding=TokenEmbeddingConfig(vocabulary=vocabulary, positions=LearnedPositions(length=length)),
        text=tower,
        image=pictures(tower, size, patch, clip=False),
        width=width,
        pool="last",
        text_bias=True,
        projected=False,
        similarity=SIMILARITY,
    )


def read(hf: Hf) -> DualConfig:
    text = {**TEXT, **side(hf, "text_config")}
    return DualConfig(
        embedding=TokenEmbeddingConfig(
            vocabulary=text["vocab_size"], positions=LearnedPositions(length=text["max_position_embeddings"])
        ),
        text=read_stack(text, TEXT),
        image=read_pictures(side(hf, "vision_config"), PICTURES, clip=False),
        width=text.get("projection_size") or text["hidden_size"],
        pool="last",
        text_bias=True,
        projected=False,
        similarity=SIMILARITY,
    )


def write(config: DualConfig) -> dict[str, Any]:
    positions = config.embedding.positions
    if positions is None:
        raise ValueError("positions")
    own = {
        "vocab_size": config.vocabulary, "max_position_embeddings": positions.length, "projection_size": config.width,
        "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }  # fmt: skip
    return {
        "model_type": "siglip",
        "architectures": ["SiglipModel"],
        "text_config": {"model_type": "siglip_text_model"} | write_stack(config.text) | own,
        "vision_config": {"model_type": "siglip_vision_model"} | write_pictures(config.image),
    }


HEAD = "vision_model.head"
NAMES: Names = {
    "text_projection": "text_model.head",
    "image.pool.question": Stored(f"{HEAD}.probe", boxed=True),
    "image.pool.attention.query.weight": Stored(f"{HEAD}.attention.in_proj_weight", part=0, parts=3),
    "image.pool.attention.key.weight": Stored(f"{HEAD}.attention.in_proj_weight", part=1, parts=3),
    "image.pool.attention.value.weight": Stored(f"{HEAD}.attention.in_proj_weight", part=2, parts=3),
    "image.pool.attention.query.bias": Stored(f"{HEAD}.attention.in_proj_bias", part=0, parts=3),
    "image.pool.attention.key.bias": Stored(f"{HEAD}.attention.in_proj_bias", part=1, parts=3),
    "image.pool.attention.value.bias": Stored(f"{HEAD}.attention.in_proj_bias", part=2, parts=3),
    "image.pool.attention.output": f"{HEAD}.attention.out_proj",
    "image.pool.norm": f"{HEAD}.layernorm",
    "image.pool.mlp.up": f"{HEAD}.mlp.fc1",
    "image.pool.mlp.down": f"{HEAD}.mlp.fc2",
    "similarity.value": Stored("logit_scale", boxed=True),
    "similarity.bias": Stored("logit_bias", boxed=True),
}
TABLE = Table(PLAIN_TEXT | PLAIN_PICTURES | NAMES, buffers=POSITION_IDS)

SHORT = {"length": 32}
SO400M: dict[str, Any] = {"width": 1152, "depth": 27, "heads": 16, "inner": 4304, "patch": 14, "size": 384}
SIGLIP = Family(
    name="siglip",
    kind="dual",
    model_types=("siglip",),
    make=siglip,
    reader=read,
    writer=write,
    table=lambda config: TABLE,
    sizes={
        "tiny": TINY_TEXT | SHORT | {"width": 128, "depth": 2, "heads": 2, "patch": 4} | TINY_PICTURES,
        "mini": MINI_TEXT | SHORT | {"width": 192, "depth": 4, "heads": 3, "patch": 8} | MINI_PICTURES,
        "small": {"width": 384, "depth": 6, "heads": 6, "patch": 16, "size": 128},
        "base": {"width": 768, "depth": 12, "heads": 12},
        "large": {"width": 1024, "depth": 24, "heads": 16, "size": 256},
        "so400m": SO400M,
    },
    tokenizer="unigram",
    specials={"pad": "</s>", "end": "</s>", "unknown": "<unk>"},
    frame=((), ("end",)),
    objective="sigmoid",
    en="CLIP for small batches: is this text right for this picture, yes or no?",
    zh="适合小批量的 CLIP：逐对判断文本与图片是否相配",
)
