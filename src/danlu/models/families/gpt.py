"""GPT-2 (Radford et al. 2019) and GPT-3 (Brown et al. 2020).

Dense GPT-3 is GPT-2 in other sizes and is written as such. The paper's "alternating dense and locally banded" layers
have no published class: such a model keeps our own names. The paper states neither which layers are banded nor how
wide; here every second layer is, from the second, reaching 256 tokens, as in GPT-Neo.
"""

from typing import Any

from danlu.models.families.family import MINI, TINY, Family, Hf, activation, only
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Stored, Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.positions import LearnedPositions
from danlu.nn.transformer import TransformerConfig

OWN_TYPE = "danlu_gpt3"


def gpt2(
    *, width: int, depth: int, heads: int, inner: int | None = None, vocabulary: int = 50_257, length: int = 1024,
    dropout: float = 0.1, attention_dropout: float = 0.1, embedding_dropout: float | None = None, eps: float = 1e-5,
    activation: ActivationName = "gelu_tanh", tied: bool = True, std: float = 0.02,
    window: int | None = None, windows: tuple[int | None, ...] | None = None, head_size: int | None = None,
) -> LanguageModelConfig:  # fmt: skip
    """A decoder with norms before each layer. window: how far every second layer sees back; None: all the way.
    windows: the same for each layer, cycled."""
    windows = windows or ((None,) if window is None else (None, window))
    return LanguageModelConfig(
        embedding=TokenEmbeddingConfig(
            vocabulary=vocabulary,
            positions=LearnedPositions(length=length),
            dropout=dropout if embedding_dropout is None else embedding_dropout,
        ),
        transformer=TransformerConfig(
            width=width,
            depth=depth,
            attention=AttentionConfig(heads=heads, head_size=head_size, windows=windows, dropout=attention_dropout),
            mlp=MlpConfig(inner=inner or 4 * width, activation=activation),
            norm=NormConfig(eps=eps),
            causal=True,
            dropout=dropout,
        ),
        head=HeadConfig(tied=tied),
        initial=InitialConfig(scheme="residual", std=std),
    )


def read(hf: Hf) -> LanguageModelConfig:
    only(hf, scale_attn_by_inverse_layer_idx=False, scale_attn_weights=True, add_cross_attention=False)
    own = hf["model_type"] == OWN_TYPE
    return gpt2(
        width=hf.get("n_embd", 768),
        depth=hf.get("n_layer", 12),
        heads=hf.get("n_head", 12),
        inner=hf.get("n_inner"),
        vocabulary=hf.get("vocab_size", 50_257),
        length=hf.get("n_positions", 1024),
        dropout=hf.get("resid_pdrop", 0.1),
        attention_dropout=hf.get("attn_pdrop", 0.1),
        embedding_dropout=hf.get("embd_pdrop", 0.1),
        eps=hf.get("layer_norm_epsilon", 1e-5),
        activation=activation(hf.get("activation_function", "gelu_new")),
        tied=hf.get("tie_word_embeddings", True),
        std=hf.get("initializer_range", 0.02),
        windows=tuple(hf["windows"]) if own else (None,),
        head_size=hf.get("head_size") if own else None,
    )


def dense(config: LanguageModelConfig) -> bool:
    """Whether the published GPT-2 class computes the same."""
    attention = config.transformer.attention
    return not any(attention.windows) and attention.head_size is None


def write(config: LanguageModelConfig) -> dict[str, Any]:
    positions, transformer = config.embedding.positions, config.transformer
    if positions is None:
        raise ValueError("positions")
    names = {"gelu_tanh": "gelu_new"}
    hf = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocabulary,
        "n_embd": transformer.width,
        "n_layer": transformer.depth,
        "n_head": transformer.attention.heads,
        "n_inner": transformer.mlp.inner,
        "n_positions": positions.length,
        "activation_function": names.get(transformer.mlp.activation, transformer.mlp.activation),
        "resid_pdrop": transformer.dropout,
        "embd_pdrop": config.embedding.dropout,
        "attn_pdrop": transformer.attention.dropout,
        "layer_norm_epsilon": transformer.norm.eps,
        "initializer_range": config.initial.std,
        "tie_word_embeddings": config.head.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if dense(config):
        return hf
    own = {"windows": list(transformer.attention.windows), "head_size": transformer.attention.head_size}
    return hf | {"model_type": OWN_TYPE, "architectures": ["LanguageModel"]} | own


BLOCK = "tower.transformer.blocks.*"
GPT2_TABLE = Table(
    {
        "tower.embedding.tokens": "transformer.wte",
        "tower.embedding.positions": "transformer.wpe",
        f"{BLOCK}.attention_norm": "transformer.h.*.ln_1",
        f"{BLOCK}.attention.query": Stored("transformer.h.*.attn.c_attn", transposed=True, part=0, parts=3),
        f"{BLOCK}.attention.key": Stored("transformer.h.*.attn.c_attn", transposed=True, part=1, parts=3),
        f"{BLOCK}.attention.value": Stored("transformer.h.*.attn.c_attn", transposed=True, part=2, parts=3),
        f"{BLOCK}.attention.output": Stored("transformer.h.*.attn.c_proj", transposed=True),
        f"{BLOCK}.mlp_norm": "transformer.h.*.ln_2",
        f"{BLOCK}.mlp.up": Stored("transformer.h.*.mlp.c_fc", transposed=True),
        f"{BLOCK}.mlp.down": Stored("transformer.h.*.mlp.c_proj", transposed=True),
        "tower.transformer.norm": "transformer.ln_f",
        "head.output": "lm_head",
    },
    prefix="transformer.",
    optional=("head.",),
    spare=(r"score\..*", r"multiple_choice_head\..*"),
    buffers=(r"h\.\d+\.attn\.(bias|masked_bias)",),
)
OWN_TABLE = Table({"tower": "tower", "head": "head"})


def table(config: LanguageModelConfig) -> Table:
    return GPT2_TABLE if dense(config) else OWN_TABLE


def _size(width: int, depth: int, heads: int) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads}


BASE = _size(768, 12, 12)
SPECIALS = {"end": "<|endoftext|>", "start": "<|endoftext|>"}
GPT2_SIZES: dict[str, dict[str, Any]] = {
    "tiny": TINY,
    "mini": MINI,
    "small": BASE,
    "base": BASE,
    "medium": _size(1024, 24, 16),
    "large": _size(1280, 36, 20),
    "xl": _size(1600, 48, 25),
}
GPT2 = Family(
    name="gpt2",
    kind="causal",
    model_types=("gpt2",),
    make=gpt2,
    reader=read,
    writer=write,
    table=table,
    sizes=GPT2_SIZES,
    tokenizer="bpe",
    specials=SPECIALS,
    en="decoder that writes on from any text; the plain one to start with",
    zh="续写文本的解码器，入门首选",
)
# Table 2.1 of the paper. Two of its rows contradict themselves: "24 heads of 128" do not make 2048, nor 40 of 128 5140.
# The parameter counts it prints fit 16 heads of 128 and a width of 5120.
GPT3_SIZES: dict[str, dict[str, Any]] = {
    "tiny": TINY | {"window": 32},
    "mini": MINI | {"window": 64},
    "small": BASE,
    "base": BASE,
    "medium": _size(1024, 24, 16),
    "large": _size(1536, 24, 16),
    "xl": _size(2048, 24, 16),
    "125m": BASE,
    "350m": _size(1024, 24, 16),
    "760m": _size(1536, 24, 16),
    "1.3b": _size(2048, 24, 16),
    "2.7b": _size(2560, 32, 32),
    "6.7b": _size(4096, 32, 32),
    "13b": _size(5120, 40, 40),
    "175b": _size(12_288, 96, 96),
}
GPT3 = Family(
    name="gpt3",
    kind="causal",
    model_types=(OWN_TYPE,),
    make=gpt2,
    words={"length": 2048, "window": 256, "dropout": 0.0, "attention_dropout": 0.0},
    reader=read,
    writer=write,
    table=table,
    sizes=GPT3_SIZES,
    tokenizer="bpe",
    specials=SPECIALS,
    en="GPT-2 grown large, every second layer seeing only nearby text; window=none makes it dense",
    zh="放大的 GPT-2，每隔一层只看邻近文本；window=none 则各层全看",
)
