"""CLIP (Radford et al. 2021) and ChineseCLIP (Yang et al. 2022): a text tower and a vision transformer."""

from typing import Any

from danlu.models.dual import DualConfig, SimilarityConfig
from danlu.models.families.bert import BERT as BERT_FAMILY
from danlu.models.families.bert import TOWER, bert
from danlu.models.families.family import MINI_TEXT, TINY_TEXT, Family, Hf, only
from danlu.models.families.towers import (
    CLIP_PICTURES,
    MINI_PICTURES,
    PLAIN_TEXT,
    POSITION_IDS,
    TINY_PICTURES,
    bert_layers,
    pictures,
    read_bert,
    read_pictures,
    read_stack,
    side,
    stack,
    write_bert,
    write_pictures,
    write_stack,
)
from danlu.models.weights import Table
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.mlp import ActivationName
from danlu.nn.positions import LearnedPositions

START = 2.6592  # ln(1 / 0.07), as published files write it
HIGHEST = 2  # an eos_token_id of old files that means: the highest id of the row
TEXT: dict[str, Any] = {
    "vocab_size": 49_408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "eos_token_id": 49_407,
}  # fmt: skip
PICTURES: dict[str, Any] = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip
BERT_TEXT: dict[str, Any] = {
    "vocab_size": 30_522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
}  # fmt: skip


def clip(
    *, width: int, depth: int, heads: int, vocabulary: int = 49_408, length: int = 77, end: int = 49_407,
    image_width: int | None = None, image_depth: int | None = None, image_heads: int | None = None, size: int = 224,
    patch: int = 32, shared: int = 512, activation: ActivationName = "quick_gelu", dropout: float = 0.0,
) -> DualConfig:  # fmt: skip
    """width, depth, heads: of the text tower, and of pictures where image_* is not said. shared: the common space.
    dropout: on attention weights. end: the id of the token that texts end with."""
    eps = 1e-5
    wide, deep, many = image_width or width, image_depth or depth, image_heads or heads
    return DualConfig(
        embedding=TokenEmbeddingConfig(vocabulary=vocabulary, positions=LearnedPositions(length=length)),
        text=stack(width, depth, heads, None, activation, eps, dropout, causal=True),
        image=pictures(stack(wide, deep, many, None, activation, eps, dropout), size, patch, clip=True),
        width=shared,
        pool="end",
        end=min(end, vocabulary - 1),
        similarity=SimilarityConfig(start=START),
    )


def read(hf: Hf) -> DualConfig:
    text = {**TEXT, **side(hf, "text_config")}
    end = text["eos_token_id"]
    return DualConfig(
        embedding=TokenEmbeddingConfig(
            vocabulary=text["vocab_size"], positions=LearnedPositions(length=text["max_position_embeddings"])
        ),
        text=read_stack(text, TEXT, causal=True),
        image=read_pictures(side(hf, "vision_config"), PICTURES, clip=True),
        width=hf.get("projection_dim", 512),
        pool="highest" if end == HIGHEST else "end",
        end=None if end == HIGHEST else end,
        similarity=SimilarityConfig(start=hf.get("logit_scale_init_value", START)),
    )


def write(config: DualConfig) -> dict[str, Any]:
    positions = config.embedding.positions
    if positions is None:
        raise ValueError("positions")
    end = HIGHEST if config.pool == "highest" else config.end
    own = {
        "vocab_size": config.vocabulary, "max_position_embeddings": positions.length, "eos_token_id": end,
        "bos_token_id": None, "pad_token_id": None, "projection_dim": config.width,
    }  # fmt: skip
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "text_config": {"model_type": "clip_text_model"} | write_stack(config.text) | own,
        "vision_config": {"model_type": "clip_vision_model"}
        | write_pictures(config.image)
        | {"projection_dim": config.width},
        "projection_dim": config.width,
        "logit_scale_init_value": config.similarity.start,
    }


ENDS = {
    "text_projection": "text_projection",
    "image_projection": "visual_projection",
    "similarity.value": "logit_scale",
}
CLIP_TABLE = Table(PLAIN_TEXT | CLIP_PICTURES | ENDS, buffers=POSITION_IDS)


def chinese_clip(
    *, width: int, depth: int, heads: int, vocabulary: int = 21_128, length: int = 512, image_width: int | None = None,
    image_depth: int | None = None, image_heads: int | None = None, size: int = 224, patch: int = 16, shared: int = 512,
    activation: ActivationName = "quick_gelu", dropout: float = 0.1, attention_dropout: float = 0.1,
) -> DualConfig:  # fmt: skip
    """BERT (RoBERTa-wwm's shape) for texts. activation: of the image tower."""
    wide, deep, many = image_width or width, image_depth or depth, image_heads or heads
    text = bert(
        width=width, depth=depth, heads=heads, vocabulary=vocabulary, length=length, dropout=dropout,
        attention_dropout=attention_dropout,
    )  # fmt: skip
    return DualConfig(
        embedding=text.embedding,
        text=text.transformer,
        image=pictures(stack(wide, deep, many, None, activation, 1e-5, 0.0), size, patch, clip=True),
        width=shared,
        pool="first",
        similarity=SimilarityConfig(start=START),
    )


def read_chinese(hf: Hf) -> DualConfig:
    only(hf, text_projection_bias=False)
    embedding, text = read_bert(side(hf, "text_config"), BERT_TEXT)
    return DualConfig(
        embedding=embedding,
        text=text,
        image=read_pictures(side(hf, "vision_config"), PICTURES, clip=True),
        width=hf.get("projection_dim", 512),
        pool="first",
        similarity=SimilarityConfig(start=hf.get("logit_scale_init_value", START)),
    )


def write_chinese(config: DualConfig) -> dict[str, Any]:
    return {
        "model_type": "chinese_clip",
        "architectures": ["ChineseCLIPModel"],
        "text_config": {"model_type": "chinese_clip_text_model"} | write_bert(config.embedding, config.text),
        "vision_config": {"model_type": "chinese_clip_vision_model"}
        | write_pictures(config.image)
        | {"projection_dim": config.width},
        "projection_dim": config.width,
        "logit_scale_init_value": config.similarity.start,
    }


CHINESE_TABLE = Table(
    bert_layers(TOWER) | CLIP_PICTURES | ENDS, buffers=POSITION_IDS, spare=(r"text_model\.pooler\..*",)
)

TINY: dict[str, Any] = {"width": 128, "depth": 2, "heads": 2, "patch": 4, "shared": 128} | TINY_PICTURES
MINI: dict[str, Any] = {"width": 192, "depth": 4, "heads": 3, "patch": 8, "shared": 192} | MINI_PICTURES
SMALL: dict[str, Any] = {"width": 384, "depth": 6, "heads": 6, "patch": 16, "shared": 256, "size": 128}
SHORT = {"length": 64}
TOWERS: dict[str, Any] = {"image_width": 768, "image_depth": 12, "image_heads": 12}
LARGE_TOWER: dict[str, Any] = {"image_width": 1024, "image_depth": 24, "image_heads": 16, "patch": 14}
B = {"width": 512, "depth": 12, "heads": 8} | TOWERS
L = {"width": 768, "depth": 12, "heads": 12, "shared": 768} | LARGE_TOWER
CLIP = Family(
    name="clip",
    kind="dual",
    model_types=("clip",),
    make=clip,
    words={"activation": "quick_gelu"},
    reader=read,
    writer=write,
    table=lambda config: CLIP_TABLE,
    # the paper's table 20
    sizes={
        "tiny": TINY_TEXT | SHORT | TINY,
        "mini": MINI_TEXT | SHORT | MINI,
        "small": SMALL,
        "base": B,
        "large": L,
        "b32": B,
        "b16": B | {"patch": 16},
        "l14": L,
        "l14-336": L | {"size": 336},
    },
    tokenizer="bpe",
    specials={"start": "<|startoftext|>", "end": "<|endoftext|>"},
    frame=(("start",), ("end",)),
    en="pictures and texts in one space: find, compare and name pictures by words",
    zh="图片与文本共处一个空间：用文字检索、比较、辨认图片",
)
CHINESE_BASE = {"width": 768, "depth": 12, "heads": 12} | TOWERS
CHINESE_CLIP = Family(
    name="chinese-clip",
    kind="dual",
    model_types=("chinese_clip",),
    make=chinese_clip,
    reader=read_chinese,
    writer=write_chinese,
    table=lambda config: CHINESE_TABLE,
    sizes={
        "tiny": TINY_TEXT | SHORT | TINY | {"attention_dropout": 0.0},
        "mini": MINI_TEXT | SHORT | MINI | {"attention_dropout": 0.0},
        "small": SMALL | {"length": 128},
        "base": CHINESE_BASE,
        "b16": CHINESE_BASE,
        "large": CHINESE_BASE | LARGE_TOWER | {"shared": 768},
        "l14": CHINESE_BASE | LARGE_TOWER | {"shared": 768},
        "l14-336": CHINESE_BASE | LARGE_TOWER | {"shared": 768, "size": 336},
        "huge": {
            "width": 1024,
            "depth": 24,
            "heads": 16,
            "image_width": 1280,
            "image_depth": 32,
            "image_heads": 16,
            "patch": 14,
            "shared": 1024,
        },
    },
    tokenizer="wordpiece",
    specials=BERT_FAMILY.specials,
    frame=(("start",), ("separator",)),
    en="CLIP whose texts are read by a BERT, in Chinese or any language",
    zh="以 BERT 读文本的 CLIP，适用于中文及其他语言",
)
