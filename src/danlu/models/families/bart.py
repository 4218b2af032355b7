"""BART (Lewis et al. 2019) and mBART (Liu et al. 2020)."""

from typing import Any

from danlu.models.families.family import MINI, SMALL, TINY, Family, Hf, activation, only, published_activation
from danlu.models.sequence_to_sequence import SequenceToSequenceConfig
from danlu.models.weights import Stored, Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.positions import LearnedPositions
from danlu.nn.transformer import TransformerConfig


def bart(
    *, width: int, depth: int, heads: int, inner: int | None = None, decoder_depth: int | None = None,
    decoder_heads: int | None = None, decoder_inner: int | None = None, vocabulary: int = 50_265, length: int = 1024,
    norm_after: bool = True, scaled: bool = False, dropout: float = 0.1, attention_dropout: float = 0.0,
    inner_dropout: float = 0.0, activation: ActivationName = "gelu", std: float = 0.02, start: int = 2,
) -> SequenceToSequenceConfig:  # fmt: skip
    """An encoder and a decoder. norm_after: false for mBART. scaled: token vectors by the root of the width."""

    def stack(depth: int, heads: int, inner: int, decoder: bool) -> TransformerConfig:
        return TransformerConfig(
            width=width,
            depth=depth,
            attention=AttentionConfig(heads=heads, dropout=attention_dropout),
            mlp=MlpConfig(inner=inner, activation=activation, dropout=inner_dropout),
            norm_after=norm_after,
            final_norm=not norm_after,
            causal=decoder,
            cross_attention=decoder,
            dropout=dropout,
        )

    inner = inner or 4 * width
    return SequenceToSequenceConfig(
        embedding=TokenEmbeddingConfig(
            vocabulary=vocabulary,
            positions=LearnedPositions(length=length, offset=2),
            norm=NormConfig(),
            scale=width**0.5 if scaled else 1.0,
            dropout=dropout,
        ),
        encoder=stack(depth, heads, inner, decoder=False),
        decoder=stack(decoder_depth or depth, decoder_heads or heads, decoder_inner or inner, decoder=True),
        initial=InitialConfig(std=std),
        start=start,
        head=HeadConfig(),
    )


def read(hf: Hf) -> SequenceToSequenceConfig:
    only(hf, tie_word_embeddings=True)
    start = hf.get("decoder_start_token_id")
    return bart(
        width=hf.get("d_model", 1024),
        depth=hf.get("encoder_layers", 12),
        heads=hf.get("encoder_attention_heads", 16),
        inner=hf.get("encoder_ffn_dim", 4096),
        decoder_depth=hf.get("decoder_layers", 12),
        decoder_heads=hf.get("decoder_attention_heads", 16),
        decoder_inner=hf.get("decoder_ffn_dim", 4096),
        vocabulary=hf.get("vocab_size", 50_265),
        length=hf.get("max_position_embeddings", 1024),
        norm_after=hf["model_type"] == "bart",
        scaled=hf.get("scale_embedding", False),
        dropout=hf.get("dropout", 0.1),
        attention_dropout=hf.get("attention_dropout", 0.0),
        inner_dropout=hf.get("activation_dropout", 0.0),
        activation=activation(hf.get("activation_function", "gelu")),
        std=hf.get("init_std", 0.02),
        start=2 if start is None else start,
    )


def _write(config: SequenceToSequenceConfig, model_type: str, architecture: str) -> dict[str, Any]:
    encoder, decoder, positions = config.encoder, config.decoder, config.embedding.positions
    if positions is None:
        raise ValueError("positions")
    return {
        "model_type": model_type,
        "architectures": [architecture],
        "vocab_size": config.vocabulary,
        "d_model": encoder.width,
        "encoder_layers": encoder.depth,
        "encoder_attention_heads": encoder.attention.heads,
        "encoder_ffn_dim": encoder.mlp.inner,
        "decoder_layers": decoder.depth,
        "decoder_attention_heads": decoder.attention.heads,
        "decoder_ffn_dim": decoder.mlp.inner,
        "max_position_embeddings": positions.length,
        "scale_embedding": config.embedding.scale != 1.0,
        "activation_function": published_activation(encoder.mlp.activation),
        "dropout": encoder.dropout,
        "attention_dropout": encoder.attention.dropout,
        "activation_dropout": encoder.mlp.dropout,
        "init_std": config.initial.std,
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start,
        "tie_word_embeddings": True,
    }


def _side(side: str) -> dict[str, str | Stored]:
    ours, theirs = f"{side}.transformer.blocks.*", f"model.{side}.layers.*"
    cross = side == "decoder"
    names: dict[str, str | Stored] = {
        f"{side}.embedding.tokens": "model.shared",
        f"{side}.embedding.positions": f"model.{side}.embed_positions",
        f"{side}.embedding.norm": f"model.{side}.layernorm_embedding",
        f"{side}.transformer.norm": f"model.{side}.layer_norm",
        f"{ours}.attention_norm": f"{theirs}.self_attn_layer_norm",
        f"{ours}.mlp_norm": f"{theirs}.final_layer_norm",
        f"{ours}.mlp.up": f"{theirs}.fc1",
        f"{ours}.mlp.down": f"{theirs}.fc2",
    }
    for our, their in {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}.items():
        names[f"{ours}.attention.{our}"] = f"{theirs}.self_attn.{their}"
        if cross:
            names[f"{ours}.cross_attention.{our}"] = f"{theirs}.encoder_attn.{their}"
    return names | ({f"{ours}.cross_attention_norm": f"{theirs}.encoder_attn_layer_norm"} if cross else {})


def table(config: SequenceToSequenceConfig) -> Table:
    sides = ("encoder", "decoder")
    return Table(
        _side("encoder") | _side("decoder") | {"head.output": "lm_head"},
        prefix="model.",
        aliases={f"model.{side}.embed_tokens.weight": "model.shared.weight" for side in sides},
        spare=(r"classification_head\..*", r"qa_outputs\..*"),
        zeros={"final_logits_bias": (1, config.vocabulary)},
    )


SPECIALS = {"start": "<s>", "pad": "<pad>", "end": "</s>", "separator": "</s>", "unknown": "<unk>", "mask": "<mask>"}
COMMON = {"tiny": TINY, "mini": MINI, "small": SMALL}

BART = Family(
    name="bart",
    kind="sequence_to_sequence",
    model_types=("bart",),
    make=bart,
    reader=read,
    writer=lambda config: _write(config, "bart", "BartForConditionalGeneration"),
    table=table,
    sizes=COMMON
    | {"base": {"width": 768, "depth": 6, "heads": 12}, "large": {"width": 1024, "depth": 12, "heads": 16}},
    tokenizer="bpe",
    specials=SPECIALS,
    frame=(("start",), ("end",)),
    start="end",
    objective="infill",
    en="repairs damaged text: summaries, dialogue, rewriting",
    zh="以修复受损文本的方式训练：摘要、对话、改写",
)
MBART = Family(
    name="mbart",
    kind="sequence_to_sequence",
    model_types=("mbart",),
    make=bart,
    words={"vocabulary": 250_027, "norm_after": False, "scaled": True},
    reader=read,
    writer=lambda config: _write(config, "mbart", "MBartForConditionalGeneration"),
    table=table,
    sizes=COMMON
    | {"base": {"width": 768, "depth": 6, "heads": 12}, "large": {"width": 1024, "depth": 12, "heads": 16}},
    tokenizer="unigram",
    specials=SPECIALS,
    frame=((), ("end",)),
    start="end",
    objective="infill",
    en="BART for many languages, made for translation",
    zh="面向多语言与翻译的 BART",
)
