"""PaLM (Chowdhery et al. 2022), written as the Cohere class, which computes the same."""

from typing import Any

from danlu.models.families.family import MINI_TEXT, TINY_TEXT, Family, Hf, activation, only, published_activation
from danlu.models.families.rotary import read_rotary, write_rotary
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.positions import RotaryPositions
from danlu.nn.transformer import TransformerConfig


def palm(
    *, width: int, depth: int, heads: int, kv_heads: int = 1, head_size: int | None = None, inner: int | None = None,
    vocabulary: int = 256_000, length: int = 2048, bias: bool = False, dropout: float = 0.0,
    attention_dropout: float = 0.0, activation: ActivationName = "silu", eps: float = 1e-5, tied: bool = True,
    scale: float | None = None, positions: RotaryPositions | None = None,
) -> LanguageModelConfig:  # fmt: skip
    """A decoder of parallel blocks with one key and value head. scale: of the logits; None: width ** -0.5."""
    return LanguageModelConfig(
        embedding=TokenEmbeddingConfig(vocabulary=vocabulary),
        transformer=TransformerConfig(
            width=width,
            depth=depth,
            attention=AttentionConfig(
                heads=heads, kv_heads=kv_heads, head_size=head_size or width // heads, input_bias=bias,
                output_bias=bias, dropout=attention_dropout,
            ),
            mlp=MlpConfig(inner=inner or 4 * width, activation=activation, gated=True, bias=False),
            norm=NormConfig(bias=False, eps=eps),
            parallel=True,
            causal=True,
            positions=positions or RotaryPositions(length=length, pairs="neighbours"),
            dropout=dropout,
        ),
        head=HeadConfig(tied=tied, scale=width**-0.5 if scale is None else scale),
        initial=InitialConfig(scheme="fan_in", std=1.0),
    )  # fmt: skip


def read(hf: Hf) -> LanguageModelConfig:
    only(hf, use_qk_norm=False)
    heads = hf.get("num_attention_heads", 64)
    return palm(
        width=hf.get("hidden_size", 8192),
        depth=hf.get("num_hidden_layers", 40),
        heads=heads,
        kv_heads=hf.get("num_key_value_heads") or heads,
        head_size=hf.get("head_dim"),
        inner=hf.get("intermediate_size", 22_528),
        vocabulary=hf.get("vocab_size", 256_000),
        bias=hf.get("attention_bias", False),
        dropout=hf.get("hidden_dropout", 0.0),
        attention_dropout=hf.get("attention_dropout", 0.0),
        activation=activation(hf.get("hidden_act", "silu")),
        eps=hf.get("layer_norm_eps", 1e-5),
        tied=hf.get("tie_word_embeddings", True),
        scale=hf.get("logit_scale", 0.0625),
        positions=read_rotary(hf, length=8192, base=500_000.0, pairs="neighbours"),
    )


def write(config: LanguageModelConfig) -> dict[str, Any]:
    transformer, attention = config.transformer, config.transformer.attention
    return {
        "model_type": "cohere",
        "architectures": ["CohereForCausalLM"],
        "vocab_size": config.vocabulary,
        "hidden_size": transformer.width,
        "num_hidden_layers": transformer.depth,
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads or attention.heads,
        "head_dim": transformer.head_size,
        "intermediate_size": transformer.mlp.inner,
        "hidden_act": published_activation(transformer.mlp.activation),
        "attention_bias": attention.input_bias,
        "attention_dropout": attention.dropout,
        "hidden_dropout": transformer.dropout,
        "use_qk_norm": False,
        "layer_norm_eps": transformer.norm.eps,
        "logit_scale": config.head.scale,
        "tie_word_embeddings": config.head.tied,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    } | write_rotary(transformer.positions)


BLOCK, LAYER = "tower.transformer.blocks.*", "model.layers.*"
TABLE = Table(
    {
        "tower.embedding.tokens": "model.embed_tokens",
        f"{BLOCK}.norm": f"{LAYER}.input_layernorm",
        f"{BLOCK}.attention.query": f"{LAYER}.self_attn.q_proj",
        f"{BLOCK}.attention.key": f"{LAYER}.self_attn.k_proj",
        f"{BLOCK}.attention.value": f"{LAYER}.self_attn.v_proj",
        f"{BLOCK}.attention.output": f"{LAYER}.self_attn.o_proj",
        f"{BLOCK}.mlp.gate": f"{LAYER}.mlp.gate_proj",
        f"{BLOCK}.mlp.up": f"{LAYER}.mlp.up_proj",
        f"{BLOCK}.mlp.down": f"{LAYER}.mlp.down_proj",
        "tower.transformer.norm": "model.norm",
        "head.output": "lm_head",
    },
    prefix="model.",
    optional=("head.",),
    spare=(r"score\..*",),
    buffers=(r".*rotary_emb\.inv_freq",),
)


def _size(width: int, depth: int, heads: int, head_size: int = 256) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "head_size": head_size}


PALM_SIZES: dict[str, dict[str, Any]] = {
    "tiny": _size(128, 2, 2, head_size=64) | TINY_TEXT,
    "mini": _size(256, 4, 4, head_size=64) | MINI_TEXT,
    "small": _size(512, 6, 8, head_size=64) | {"length": 512},
    "base": _size(768, 12, 12, head_size=64),
    "large": _size(1536, 24, 12, head_size=128),
    "8b": _size(4096, 32, 16),
    "62b": _size(8192, 64, 32),
    "540b": _size(18_432, 118, 48),
}
PALM = Family(
    name="palm",
    kind="causal",
    model_types=("cohere",),
    make=palm,
    reader=read,
    writer=write,
    table=lambda config: TABLE,
    sizes=PALM_SIZES,
    tokenizer="unigram",
    specials={"pad": "<pad>", "unknown": "<unk>", "start": "<s>", "end": "</s>"},
    frame=(("start",), ()),
    z_weight=1e-4,
    en="decoder whose attention and feed-forward run side by side, with one key head: fast to run",
    zh="注意力与前馈并行、共用一组键值的解码器，推理快",
)
