"""What the families of two towers share: published names and settings of their transformers."""

from collections.abc import Mapping
from typing import Any

from danlu.models.families.bert import bert
from danlu.models.families.family import Hf, activation, only, published_activation
from danlu.models.weights import Stored
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.transformer import TransformerConfig
from danlu.vision.patches import PatchConfig
from danlu.vision.tower import PictureConfig, Pool

Names = dict[str, str | Stored]

# Sizes every family has beside its paper's own. Pictures: of 32 and 64 pixels, for what a laptop can train.
TINY_PICTURES: dict[str, Any] = {"size": 32}
MINI_PICTURES: dict[str, Any] = {"size": 64}


def side(hf: Hf, name: str) -> dict[str, Any]:
    """The settings of one tower; old files have a second set that overrides the first."""
    return {**(hf.get(name) or {}), **(hf.get(f"{name}_dict") or {})}


def stack(
    width: int, depth: int, heads: int, inner: int | None, act: ActivationName, eps: float, dropout: float,
    causal: bool = False,
) -> TransformerConfig:  # fmt: skip
    """Norms before each layer and at the end, as CLIP and SigLIP have it."""
    return TransformerConfig(
        width=width, depth=depth, attention=AttentionConfig(heads=heads, dropout=dropout),
        mlp=MlpConfig(inner=inner or 4 * width, activation=act), norm=NormConfig(eps=eps), causal=causal,
    )  # fmt: skip


def read_stack(hf: Hf, defaults: Hf, causal: bool = False) -> TransformerConfig:
    known = {**defaults, **{name: value for name, value in hf.items() if value is not None}}
    return stack(
        known["hidden_size"], known["num_hidden_layers"], known["num_attention_heads"], known["intermediate_size"],
        activation(known["hidden_act"]), known["layer_norm_eps"], known.get("attention_dropout", 0.0), causal,
    )  # fmt: skip


def write_stack(stack: TransformerConfig) -> dict[str, Any]:
    return {
        "hidden_size": stack.width,
        "num_hidden_layers": stack.depth,
        "num_attention_heads": stack.attention.heads,
        "intermediate_size": stack.mlp.inner,
        "hidden_act": published_activation(stack.mlp.activation),
        "layer_norm_eps": stack.norm.eps,
        "attention_dropout": stack.attention.dropout,
    }


def read_pictures(hf: Hf, defaults: Hf, clip: bool) -> PictureConfig:
    """clip: with a class token and a norm after the positions; otherwise as SigLIP."""
    only(hf, vision_use_head=True)
    known = {**defaults, **{name: value for name, value in hf.items() if value is not None}}
    return pictures(
        read_stack(hf, defaults), known["image_size"], known["patch_size"], clip, known.get("num_channels", 3)
    )


def pictures(stack: TransformerConfig, size: int, patch: int, clip: bool, channels: int = 3) -> PictureConfig:
    norm = stack.norm if clip else None
    pool: Pool = "summary" if clip else "attention"
    patches = PatchConfig(size=size, patch=patch, channels=channels, summary=clip, bias=not clip, norm=norm)
    return PictureConfig(patches=patches, transformer=stack, pool=pool)


def write_pictures(config: Any) -> dict[str, Any]:
    if not isinstance(config, PictureConfig):
        raise TypeError("the image tower is no transformer")
    patches = config.patches
    sizes = {"image_size": patches.size, "patch_size": patches.patch, "num_channels": patches.channels}
    return write_stack(config.transformer) | sizes


def read_bert(hf: Hf, defaults: Hf) -> tuple[TokenEmbeddingConfig, TransformerConfig]:
    known = {**defaults, **{name: value for name, value in hf.items() if value is not None}}
    only(hf, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    made = bert(
        width=known["hidden_size"], depth=known["num_hidden_layers"], heads=known["num_attention_heads"],
        inner=known["intermediate_size"], vocabulary=known["vocab_size"], length=known["max_position_embeddings"],
        segments=known["type_vocab_size"], dropout=known["hidden_dropout_prob"],
        attention_dropout=known["attention_probs_dropout_prob"], activation=activation(known["hidden_act"]),
        eps=known["layer_norm_eps"],
    )  # fmt: skip
    return made.embedding, made.transformer


def write_bert(embedding: TokenEmbeddingConfig, stack: TransformerConfig) -> dict[str, Any]:
    if embedding.positions is None:
        raise ValueError("positions")
    return {
        "vocab_size": embedding.vocabulary,
        "hidden_size": stack.width,
        "num_hidden_layers": stack.depth,
        "num_attention_heads": stack.attention.heads,
        "intermediate_size": stack.mlp.inner,
        "hidden_act": published_activation(stack.mlp.activation),
        "hidden_dropout_prob": stack.dropout,
        "attention_probs_dropout_prob": stack.attention.dropout,
        "max_position_embeddings": embedding.positions.length,
        "type_vocab_size": embedding.segments,
        "layer_norm_eps": stack.norm.eps,
    }


def layers(ours: str, theirs: str) -> Names:
    """A stack as CLIP's and SigLIP's files name it."""
    block, layer = f"{ours}.transformer.blocks.*", f"{theirs}.encoder.layers.*"
    return {
        f"{block}.attention_norm": f"{layer}.layer_norm1",
        f"{block}.attention.query": f"{layer}.self_attn.q_proj",
        f"{block}.attention.key": f"{layer}.self_attn.k_proj",
        f"{block}.attention.value": f"{layer}.self_attn.v_proj",
        f"{block}.attention.output": f"{layer}.self_attn.out_proj",
        f"{block}.mlp_norm": f"{layer}.layer_norm2",
        f"{block}.mlp.up": f"{layer}.mlp.fc1",
        f"{block}.mlp.down": f"{layer}.mlp.fc2",
    }


def bert_layers(tower: Mapping[str, str]) -> Names:
    """BERT's table, moved under `text`."""
    return {ours.replace("tower.", "text.", 1): f"text_model.{theirs}" for ours, theirs in tower.items()}


PLAIN_TEXT: Names = layers("text", "text_model") | {
    "text.embedding.tokens": "text_model.embeddings.token_embedding",
    "text.embedding.positions": "text_model.embeddings.position_embedding",
    "text.transformer.norm": "text_model.final_layer_norm",
}
PLAIN_PICTURES: Names = layers("image", "vision_model") | {
    "image.embedding.patches": "vision_model.embeddings.patch_embedding",
    "image.embedding.positions": "vision_model.embeddings.position_embedding",
    "image.transformer.norm": "vision_model.post_layernorm",
}
CLIP_PICTURES: Names = PLAIN_PICTURES | {
    "image.embedding.summary": "vision_model.embeddings.class_embedding",
    "image.embedding.norm": "vision_model.pre_layrnorm",
}
POSITION_IDS = (r"(text_model|vision_model)\.embeddings\.(position_ids|token_type_ids)",)
