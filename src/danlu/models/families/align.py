"""ALIGN (Jia et al. 2021): EfficientNet for pictures, BERT for texts, trained on noisy captions."""

import math
from typing import Any

import torch
from torch import Tensor

from danlu.models.dual import DualConfig, SimilarityConfig
from danlu.models.families.bert import BERT as BERT_FAMILY
from danlu.models.families.bert import TOWER, bert
from danlu.models.families.clip import BERT_TEXT
from danlu.models.families.family import MINI_TEXT, TINY_TEXT, Family, Hf, activation, published_activation
from danlu.models.families.towers import (
    MINI_PICTURES,
    POSITION_IDS,
    TINY_PICTURES,
    Names,
    bert_layers,
    read_bert,
    side,
    write_bert,
)
from danlu.models.weights import Table
from danlu.vision.efficientnet import STAGES, EfficientNetConfig, Stage

# Their lists, one entry a stage, and ours.
LISTS = {
    "inputs": "in_channels", "channels": "out_channels", "repeats": "num_block_repeats", "kernel": "kernel_sizes",
    "stride": "strides", "expansion": "expand_ratios",
}  # fmt: skip
B7: dict[str, Any] = {
    "num_channels": 3, "image_size": 600, "width_coefficient": 2.0, "depth_coefficient": 3.1, "depth_divisor": 8,
    "depthwise_padding": [], "squeeze_expansion_ratio": 0.25, "hidden_act": "swish", "hidden_dim": 2560,
    "pooling_type": "mean", "batch_norm_eps": 1e-3, "batch_norm_momentum": 0.99,
} | {theirs: [getattr(stage, ours) for stage in STAGES] for ours, theirs in LISTS.items()}  # fmt: skip


def align(
    *, width: int, depth: int, heads: int, vocabulary: int = 30_522, length: int = 512, dropout: float = 0.1,
    attention_dropout: float = 0.1, size: int = 289, wider: float = 2.0, deeper: float = 3.1,
    stages: tuple[Stage, ...] = STAGES, momentum: float = 0.01, temperature: float = 1.0,
) -> DualConfig:  # fmt: skip
    """width, depth, heads: of the BERT. wider, deeper: factors on EfficientNet-B0; its width is that of the common
    space. temperature: as a fresh model begins."""
    image = EfficientNetConfig(size=size, wider=wider, deeper=deeper, stages=stages, momentum=momentum)
    text = bert(
        width=width, depth=depth, heads=heads, vocabulary=vocabulary, length=length, dropout=dropout,
        attention_dropout=attention_dropout,
    )  # fmt: skip
    return _config(text.embedding, text.transformer, image, image.width, temperature)


def _config(embedding: Any, text: Any, image: EfficientNetConfig, width: int, temperature: float) -> DualConfig:
    return DualConfig(
        embedding=embedding, text=text, image=image, width=width, pool="first", text_bias=True, projected=False,
        similarity=SimilarityConfig(kind="temperature", start=temperature),
    )  # fmt: skip


def read(hf: Hf) -> DualConfig:
    embedding, text = read_bert(side(hf, "text_config"), BERT_TEXT)
    known = {**B7, **side(hf, "vision_config")}
    rows = zip(*(known[theirs] for theirs in LISTS.values()), strict=True)
    image = EfficientNetConfig(
        size=known["image_size"],
        channels=known["num_channels"],
        wider=known["width_coefficient"],
        deeper=known["depth_coefficient"],
        divisor=known["depth_divisor"],
        stages=tuple(Stage(**dict(zip(LISTS, row, strict=True))) for row in rows),
        squeeze=known["squeeze_expansion_ratio"],
        activation=activation(known["hidden_act"]),
        eps=known["batch_norm_eps"],
        momentum=round(1 - known["batch_norm_momentum"], 6),  # theirs is the share that is kept
        even=tuple(known["depthwise_padding"]),
        most=known["hidden_dim"],
        pool=known["pooling_type"],
    )
    return _config(embedding, text, image, hf.get("projection_dim", 640), hf.get("temperature_init_value", 1.0))


def write(config: DualConfig) -> dict[str, Any]:
    image = config.image
    if not isinstance(image, EfficientNetConfig):
        raise TypeError("the image tower is no EfficientNet")
    vision = {
        "model_type": "align_vision_model",
        "num_channels": image.channels,
        "image_size": image.size,
        "width_coefficient": image.wider,
        "depth_coefficient": image.deeper,
        "depth_divisor": image.divisor,
        **{theirs: [getattr(stage, ours) for stage in image.stages] for ours, theirs in LISTS.items()},
        "depthwise_padding": list(image.even),
        "squeeze_expansion_ratio": image.squeeze,
        "hidden_act": {"silu": "swish"}.get(image.activation, published_activation(image.activation)),
        "hidden_dim": image.most,
        "pooling_type": image.pool,
        "batch_norm_eps": image.eps,
        "batch_norm_momentum": round(1 - image.momentum, 6),
    }
    return {
        "model_type": "align",
        "architectures": ["AlignModel"],
        "text_config": {"model_type": "align_text_model"} | write_bert(config.embedding, config.text),
        "vision_config": vision,
        "projection_dim": config.width,
        "temperature_init_value": config.similarity.start,
    }


def _norm(ours: str, theirs: str) -> Names:
    return {
        f"{ours}.weight": f"{theirs}.weight",
        f"{ours}.bias": f"{theirs}.bias",
        f"{ours}.mean": f"{theirs}.running_mean",
        f"{ours}.variance": f"{theirs}.running_var",
    }


BLOCK, THEIRS = "image.blocks.*", "vision_model.encoder.blocks.*"
NORMS = {
    "image.stem.norm": "vision_model.embeddings.batchnorm",
    f"{BLOCK}.expand.norm": f"{THEIRS}.expansion.expand_bn",
    f"{BLOCK}.filter.norm": f"{THEIRS}.depthwise_conv.depthwise_norm",
    f"{BLOCK}.project.norm": f"{THEIRS}.projection.project_bn",
}
NAMES: Names = {
    "image.stem.convolution": "vision_model.embeddings.convolution",
    f"{BLOCK}.expand.convolution": f"{THEIRS}.expansion.expand_conv",
    f"{BLOCK}.filter.convolution": f"{THEIRS}.depthwise_conv.depthwise_conv",
    f"{BLOCK}.squeeze": f"{THEIRS}.squeeze_excite.reduce",
    f"{BLOCK}.excite": f"{THEIRS}.squeeze_excite.expand",
    f"{BLOCK}.project.convolution": f"{THEIRS}.projection.project_conv",
    "text_projection": "text_projection",
    "similarity.value": "temperature",
}
for _ours, _theirs in NORMS.items():
    NAMES |= _norm(_ours, _theirs)


def table(config: DualConfig) -> Table:
    """The published text tower carries a pooler that nothing reads, and each batch norm counts its batches."""
    image, width = config.image, config.text.width
    if not isinstance(image, EfficientNetConfig):
        raise TypeError("the image tower is no EfficientNet")
    blanks: dict[str, Tensor] = {
        "text_model.pooler.dense.weight": torch.zeros(width, width),
        "text_model.pooler.dense.bias": torch.zeros(width),
    }
    expansions = [stage.expansion for stage in image.stages for _ in range(math.ceil(image.deeper * stage.repeats))]
    for theirs in NORMS.values():
        for number, expansion in enumerate(expansions if "*" in theirs else [1]):
            if expansion != 1 or "expansion" not in theirs:
                name = theirs.replace("*", str(number))
                blanks[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return Table(bert_layers(TOWER) | NAMES, buffers=POSITION_IDS, blanks=blanks)


def _stages(*rows: tuple[int, int, int, int, int, int]) -> tuple[Stage, ...]:
    return tuple(Stage(**dict(zip(LISTS, row, strict=True))) for row in rows)


# inputs, channels, repeats, kernel, stride, expansion
TINY_STAGES = _stages((32, 32, 1, 3, 1, 1), (32, 48, 1, 3, 2, 4), (48, 96, 1, 3, 2, 4), (96, 256, 1, 3, 1, 4))
MINI_STAGES = _stages((32, 32, 1, 3, 1, 1), (32, 64, 2, 3, 2, 4), (64, 128, 2, 3, 2, 4), (128, 384, 2, 3, 2, 4))
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}
QUICK: dict[str, Any] = {"length": 64, "wider": 0.5, "deeper": 1.0, "momentum": 0.1, "temperature": 0.07} | NO_DROPOUT
BERT_BASE = {"width": 768, "depth": 12, "heads": 12}
BERT_LARGE = {"width": 1024, "depth": 24, "heads": 16}
B0 = {"wider": 1.0, "deeper": 1.0}
ALIGN = Family(
    name="align",
    kind="dual",
    model_types=("align",),
    make=align,
    reader=read,
    writer=write,
    table=table,
    # base is the published one: EfficientNet-B7; the paper's largest is EfficientNet-L2 with BERT-large.
    sizes={
        "tiny": TINY_TEXT | QUICK | {"width": 128, "depth": 2, "heads": 2, "stages": TINY_STAGES} | TINY_PICTURES,
        "mini": MINI_TEXT | QUICK | {"width": 192, "depth": 4, "heads": 3, "stages": MINI_STAGES} | MINI_PICTURES,
        "small": B0 | {"width": 512, "depth": 4, "heads": 8, "size": 128, "momentum": 0.1, "length": 64} | NO_DROPOUT,
        "b0": B0 | BERT_BASE,
        "b3": {"wider": 1.2, "deeper": 1.4} | BERT_BASE,
        "base": BERT_BASE,
        "large": BERT_LARGE,
        "paper": BERT_LARGE | {"wider": 4.3, "deeper": 5.3},
    },
    tokenizer="wordpiece",
    specials=BERT_FAMILY.specials,
    frame=(("start",), ("separator",)),
    en="a convolutional CLIP: EfficientNet and BERT, made for captions as the web has them",
    zh="卷积版 CLIP：EfficientNet 加 BERT，适应网络上参差不齐的图片说明",
)
