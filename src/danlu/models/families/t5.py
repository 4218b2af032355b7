"""T5 (Raffel et al. 2020), T5 v1.1 (Shazeer 2020) and mT5 (Xue et al. 2021)."""

from typing import Any

from danlu.errors import DanluError
from danlu.models.families.family import MINI_TEXT, TINY_TEXT, Family, Hf, activation
from danlu.models.sequence_to_sequence import SequenceToSequenceConfig
from danlu.models.weights import Stored, Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.positions import RelativePositions
from danlu.nn.transformer import TransformerConfig

SENTINELS = tuple(f"<extra_id_{index}>" for index in range(99, -1, -1))  # the first has the highest id


def t5(
    *, width: int, depth: int, heads: int, decoder_depth: int | None = None, head_size: int = 64,
    inner: int | None = None, vocabulary: int = 32_128, length: int = 512, buckets: int = 32, max_distance: int = 128,
    gated: bool = False, activation: ActivationName = "relu", dropout: float = 0.1, eps: float = 1e-6,
    tied: bool = True, scaled: bool = True, factor: float = 1.0, start: int = 0,
) -> SequenceToSequenceConfig:  # fmt: skip
    """An encoder and a decoder with relative positions and unscaled scores. scaled: head inputs by width ** -0.5."""
    encoder = TransformerConfig(
        width=width,
        depth=depth,
        attention=AttentionConfig(
            heads=heads, head_size=head_size, input_bias=False, output_bias=False, scale=1.0, dropout=dropout
        ),
        mlp=MlpConfig(inner=inner or 4 * width, activation=activation, gated=gated, bias=False, dropout=dropout),
        norm=NormConfig(kind="rms", eps=eps),
        positions=RelativePositions(length=length, buckets=buckets, max_distance=max_distance),
        dropout=dropout,
        final_dropout=dropout,
    )
    decoder = {"depth": decoder_depth or depth, "causal": True, "cross_attention": True}
    return SequenceToSequenceConfig(
        embedding=TokenEmbeddingConfig(vocabulary=vocabulary, dropout=dropout),
        encoder=encoder,
        decoder=encoder.model_copy(update=decoder),
        head=HeadConfig(tied=tied, scale=width**-0.5 if scaled else 1.0),
        initial=InitialConfig(scheme="t5", std=factor),
        start=start,
    )


V1_1: dict[str, Any] = {"gated": True, "activation": "gelu_tanh", "tied": False, "scaled": False, "dropout": 0.0}


def read(hf: Hf) -> SequenceToSequenceConfig:
    plain = hf["model_type"] == "t5"
    kind = hf.get("feed_forward_proj", "relu" if plain else "gated-gelu")
    gated, name = kind.startswith("gated-"), kind.removeprefix("gated-")
    # Scaled means tied. Newer files always call the head tied and say the scaling apart; mT5's was never tied.
    scaled = plain and hf.get("scale_decoder_outputs", hf.get("tie_word_embeddings", True))
    return t5(
        width=hf.get("d_model", 512),
        depth=hf.get("num_layers", 6 if plain else 8),
        decoder_depth=hf.get("num_decoder_layers"),
        heads=hf.get("num_heads", 8 if plain else 6),
        head_size=hf.get("d_kv", 64),
        inner=hf.get("d_ff", 2048 if plain else 1024),
        vocabulary=hf.get("vocab_size", 32_128 if plain else 250_112),
        length=hf.get("n_positions", 512),
        buckets=hf.get("relative_attention_num_buckets", 32),
        max_distance=hf.get("relative_attention_max_distance", 128),
        gated=gated,
        activation="gelu_tanh" if kind == "gated-gelu" else activation(name),  # (sic): the reference means tanh here
        dropout=hf.get("dropout_rate", 0.1),
        eps=hf.get("layer_norm_epsilon", 1e-6),
        tied=scaled,
        scaled=scaled,
        factor=hf.get("initializer_factor", 1.0),
        start=hf.get("decoder_start_token_id") or 0,
    )


def _write(config: SequenceToSequenceConfig, model_type: str, architecture: str) -> dict[str, Any]:
    encoder, positions = config.encoder, config.encoder.positions
    if not isinstance(positions, RelativePositions):
        raise ValueError("positions")
    if encoder.mlp.gated and encoder.mlp.activation == "gelu":
        raise DanluError("E1407", name="activation", found="gated gelu", possible="gelu_tanh")
    names = {"gelu_tanh": "gelu" if encoder.mlp.gated else "gelu_new"}
    kind = names.get(encoder.mlp.activation, encoder.mlp.activation)
    return {
        "model_type": model_type,
        "architectures": [architecture],
        "vocab_size": config.vocabulary,
        "d_model": encoder.width,
        "d_kv": encoder.head_size,
        "d_ff": encoder.mlp.inner,
        "num_layers": encoder.depth,
        "num_decoder_layers": config.decoder.depth,
        "num_heads": encoder.attention.heads,
        "n_positions": positions.length,
        "relative_attention_num_buckets": positions.buckets,
        "relative_attention_max_distance": positions.max_distance,
        "feed_forward_proj": f"gated-{kind}" if encoder.mlp.gated else kind,
        "dropout_rate": encoder.dropout,
        "layer_norm_epsilon": encoder.norm.eps,
        "initializer_factor": config.initial.std,
        "tie_word_embeddings": config.head.tied,
        "is_encoder_decoder": True,
        "decoder_start_token_id": config.start,
    }


def _side(side: str, gated: bool) -> dict[str, str | Stored]:
    ours, theirs = f"{side}.transformer.blocks.*", f"{side}.block.*.layer"
    cross = side == "decoder"
    last = 2 if cross else 1
    names: dict[str, str | Stored] = {
        f"{side}.embedding.tokens": "shared",
        f"{side}.transformer.relative_bias.table": f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias",
        f"{side}.transformer.norm": f"{side}.final_layer_norm",
        f"{ours}.attention_norm": f"{theirs}.0.layer_norm",
        f"{ours}.mlp_norm": f"{theirs}.{last}.layer_norm",
        f"{ours}.mlp.gate": f"{theirs}.{last}.DenseReluDense.wi_0",
        f"{ours}.mlp.up": f"{theirs}.{last}.DenseReluDense.{'wi_1' if gated else 'wi'}",
        f"{ours}.mlp.down": f"{theirs}.{last}.DenseReluDense.wo",
    }
    for our, their in {"query": "q", "key": "k", "value": "v", "output": "o"}.items():
        names[f"{ours}.attention.{our}"] = f"{theirs}.0.SelfAttention.{their}"
        if cross:
            names[f"{ours}.cross_attention.{our}"] = f"{theirs}.1.EncDecAttention.{their}"
    return names | ({f"{ours}.cross_attention_norm": f"{theirs}.1.layer_norm"} if cross else {})


def _table(gated: bool) -> Table:
    return Table(
        _side("encoder", gated) | _side("decoder", gated) | {"head.output": "lm_head"},
        aliases={"encoder.embed_tokens.weight": "shared.weight", "decoder.embed_tokens.weight": "shared.weight"},
        fallbacks={"lm_head.weight": "shared.weight"},
        buffers=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),  # never used
    )


TABLES = {gated: _table(gated) for gated in (False, True)}


def _size(width: int, depth: int, heads: int, inner: int, head_size: int = 64, **words: Any) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "inner": inner, "head_size": head_size, **words}


SMALL_ONES = {
    "tiny": _size(128, 2, 2, 512, **TINY_TEXT), "mini": _size(256, 4, 4, 1024, **MINI_TEXT),
}  # fmt: skip
PLAIN = {
    "small": _size(512, 6, 8, 2048), "base": _size(768, 12, 12, 3072), "large": _size(1024, 24, 16, 4096),
    "3b": _size(1024, 24, 32, 16_384, 128), "11b": _size(1024, 24, 128, 65_536, 128),
}  # fmt: skip
GATED = {
    "small": _size(512, 8, 6, 1024), "base": _size(768, 12, 12, 2048), "large": _size(1024, 24, 16, 2816),
    "xl": _size(2048, 24, 32, 5120), "xxl": _size(4096, 24, 64, 10_240),
}  # fmt: skip
SPECIALS = {"pad": "<pad>", "end": "</s>", "unknown": "<unk>"}

T5 = Family(
    name="t5",
    kind="sequence_to_sequence",
    model_types=("t5",),
    make=t5,
    reader=read,
    writer=lambda config: _write(config, "t5", "T5ForConditionalGeneration"),
    table=lambda config: TABLES[config.encoder.mlp.gated],
    sizes=SMALL_ONES | PLAIN | {f"v1.1-{name}": size | V1_1 for name, size in (SMALL_ONES | GATED).items()},
    tokenizer="unigram",
    specials=SPECIALS,
    frame=((), ("end",)),
    start="pad",
    extra_tokens=SENTINELS,
    en="reads a text and writes another: translation, summaries, any task put into words",
    zh="读入一段文本再写出另一段：翻译、摘要及一切能写成文字的任务",
)
MT5 = Family(
    name="mt5",
    kind="sequence_to_sequence",
    model_types=("mt5",),
    make=t5,
    words=V1_1 | {"vocabulary": 250_112},
    reader=read,
    writer=lambda config: _write(config, "mt5", "MT5ForConditionalGeneration"),
    table=lambda config: TABLES[config.encoder.mlp.gated],
    sizes=SMALL_ONES | GATED,
    tokenizer="unigram",
    specials=SPECIALS,
    frame=((), ("end",)),
    start="pad",
    extra_tokens=SENTINELS,
    en="T5 v1.1 for a hundred languages",
    zh="支持一百种语言的 T5 v1.1",
)
