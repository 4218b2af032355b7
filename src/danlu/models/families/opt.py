"""OPT (Zhang et al. 2022); its 350M sibling normalises after each sum and embeds in half the width."""

from typing import Any

from danlu.models.families.family import MINI, SMALL, TINY, Family, Hf, activation, only, published_activation
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.mlp import ActivationName, MlpConfig
from danlu.nn.positions import LearnedPositions
from danlu.nn.transformer import TransformerConfig


def opt(
    *, width: int, depth: int, heads: int, inner: int | None = None, vocabulary: int = 50_272, length: int = 2048,
    table_width: int | None = None, norm_after: bool = False, final_norm: bool = True, bias: bool = True,
    dropout: float = 0.1, attention_dropout: float = 0.0, activation: ActivationName = "relu", tied: bool = True,
    std: float = 0.006,
) -> LanguageModelConfig:  # fmt: skip
    """A decoder. table_width: of the token table, where it is narrower than the model."""
    return LanguageModelConfig(
        embedding=TokenEmbeddingConfig(
            vocabulary=vocabulary,
            width=None if table_width == width else table_width,
            positions=LearnedPositions(length=length, offset=2),
        ),
        transformer=TransformerConfig(
            width=width,
            depth=depth,
            attention=AttentionConfig(heads=heads, input_bias=bias, output_bias=bias, dropout=attention_dropout),
            mlp=MlpConfig(inner=inner or 4 * width, activation=activation, bias=bias),
            norm_after=norm_after,
            final_norm=final_norm and not norm_after,
            causal=True,
            dropout=dropout,
        ),
        head=HeadConfig(tied=tied),
        initial=InitialConfig(scheme="residual", std=std),
    )


def read(hf: Hf) -> LanguageModelConfig:
    only(hf, layer_norm_elementwise_affine=True)
    width = hf.get("hidden_size", 768)
    return opt(
        width=width,
        depth=hf.get("num_hidden_layers", 12),
        heads=hf.get("num_attention_heads", 12),
        inner=hf.get("ffn_dim", 3072),
        vocabulary=hf.get("vocab_size", 50_272),
        length=hf.get("max_position_embeddings", 2048),
        table_width=hf.get("word_embed_proj_dim"),
        norm_after=not hf.get("do_layer_norm_before", True),
        final_norm=not hf.get("_remove_final_layer_norm", False),
        bias=hf.get("enable_bias", True),
        dropout=hf.get("dropout", 0.1),
        attention_dropout=hf.get("attention_dropout", 0.0),
        activation=activation(hf.get("activation_function", "relu")),
        tied=hf.get("tie_word_embeddings", True),
        std=hf.get("init_std", 0.02),
    )


def write(config: LanguageModelConfig) -> dict[str, Any]:
    positions, transformer = config.embedding.positions, config.transformer
    if positions is None:
        raise ValueError("positions")
    return {
        "model_type": "opt",
        "architectures": ["OPTForCausalLM"],
        "vocab_size": config.vocabulary,
        "hidden_size": transformer.width,
        "word_embed_proj_dim": config.embedding.width or transformer.width,
        "num_hidden_layers": transformer.depth,
        "num_attention_heads": transformer.attention.heads,
        "ffn_dim": transformer.mlp.inner,
        "max_position_embeddings": positions.length,
        "do_layer_norm_before": not transformer.norm_after,
        "_remove_final_layer_norm": not transformer.final_norm and not transformer.norm_after,
        "enable_bias": transformer.mlp.bias,
        "activation_function": published_activation(transformer.mlp.activation),
        "dropout": transformer.dropout,
        "attention_dropout": transformer.attention.dropout,
        "init_std": config.initial.std,
        "tie_word_embeddings": config.head.tied,
    }


BLOCK, LAYER = "tower.transformer.blocks.*", "model.decoder.layers.*"
TABLE = Table(
    {
        "tower.embedding.tokens": "model.decoder.embed_tokens",
        "tower.embedding.positions": "model.decoder.embed_positions",
        "tower.embedding.projection": "model.decoder.project_in",
        f"{BLOCK}.attention_norm": f"{LAYER}.self_attn_layer_norm",
        f"{BLOCK}.attention.query": f"{LAYER}.self_attn.q_proj",
        f"{BLOCK}.attention.key": f"{LAYER}.self_attn.k_proj",
        f"{BLOCK}.attention.value": f"{LAYER}.self_attn.v_proj",
        f"{BLOCK}.attention.output": f"{LAYER}.self_attn.out_proj",
        f"{BLOCK}.mlp_norm": f"{LAYER}.final_layer_norm",
        f"{BLOCK}.mlp.up": f"{LAYER}.fc1",
        f"{BLOCK}.mlp.down": f"{LAYER}.fc2",
        "tower.transformer.norm": "model.decoder.final_layer_norm",
        "head.projection": "model.decoder.project_out",
        "head.output": "lm_head",
    },
    prefix="model.",
    optional=("head.output",),
    spare=(r"score\..*",),
)


def _size(width: int, depth: int, heads: int) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads}


OPT_SIZES: dict[str, dict[str, Any]] = {
    "tiny": TINY,
    "mini": MINI,
    "small": SMALL,
    "base": _size(768, 12, 12),
    "large": _size(2048, 24, 32),
    "125m": _size(768, 12, 12),
    "350m": _size(1024, 24, 16) | {"table_width": 512, "norm_after": True},
    "1.3b": _size(2048, 24, 32),
    "2.7b": _size(2560, 32, 32),
    "6.7b": _size(4096, 32, 32),
    "13b": _size(5120, 40, 40),
    "30b": _size(7168, 48, 56),
    "66b": _size(9216, 64, 72),
    "175b": _size(12_288, 96, 96),
}
OPT = Family(
    name="opt",
    kind="causal",
    model_types=("opt",),
    make=opt,
    reader=read,
    writer=write,
    table=lambda config: TABLE,
    sizes=OPT_SIZES,
    tokenizer="bpe",
    specials={"pad": "<pad>", "start": "</s>", "end": "</s>", "unknown": "<unk>"},
    frame=(("start",), ()),
    en="GPT-3's open sibling, with plain ReLU layers",
    zh="GPT-3 的开放版本，使用普通的 ReLU 层",
)
