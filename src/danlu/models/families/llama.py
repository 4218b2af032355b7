"""Llama (Touvron et al. 2023), Mistral (Jiang et al. 2023), Qwen2 and Qwen3: one shape, four dialects."""

from functools import partial
from typing import Any

from danlu.models.families.family import MINI_TEXT, TINY_TEXT, Family, Hf, activation, published_activation
from danlu.models.families.rotary import read_rotary, write_rotary
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.positions import RotaryPositions
from danlu.nn.transformer import MAX_DEPTH, TransformerConfig


def llama(
    *, width: int, depth: int, heads: int, kv_heads: int | None = None, head_size: int | None = None,
    inner: int | None = None, vocabulary: int = 32_000, length: int = 2048, base: float = 10_000.0,
    input_bias: bool = False, output_bias: bool = False, mlp_bias: bool = False, head_norm: bool = False,
    window: int | None = None, windows: tuple[int | None, ...] | None = None, dropout: float = 0.0,
    attention_dropout: float = 0.0, activation: ActivationName = "silu", eps: float = 1e-5, tied: bool = False,
    std: float = 0.02, positions: RotaryPositions | None = None,
) -> LanguageModelConfig:  # fmt: skip
    """A decoder with root-mean-square norms and gated layers. window: how far layers see back; None: all the way."""
    norm = NormConfig(kind="rms", eps=eps)
    return LanguageModelConfig(
        embedding=TokenEmbeddingConfig(vocabulary=vocabulary),
        transformer=TransformerConfig(
            width=width,
            depth=depth,
            attention=AttentionConfig(
                heads=heads, kv_heads=kv_heads or heads, head_size=head_size or width // heads, input_bias=input_bias,
                output_bias=output_bias, head_norm=norm if head_norm else None, windows=windows or (window,),
                dropout=attention_dropout,
            ),
            mlp=MlpConfig(inner=inner or gated_inner(width), activation=activation, gated=True, bias=mlp_bias),
            norm=norm,
            causal=True,
            positions=positions or RotaryPositions(length=length, base=base),
            dropout=dropout,
        ),
        head=HeadConfig(tied=tied),
        initial=InitialConfig(std=std),
    )  # fmt: skip


def gated_inner(width: int) -> int:
    """8/3 of the width, up to a multiple of 64: three matrices then cost what two of four times the width do."""
    return -(-8 * width // (3 * 64)) * 64


def read(hf: Hf) -> LanguageModelConfig:
    kind = hf["model_type"]
    width, heads = hf.get("hidden_size", 4096), hf.get("num_attention_heads", 32)
    defaults = DEFAULTS[kind]
    bias = bool(hf.get("attention_bias", False)) and kind in ("llama", "qwen3")
    return llama(
        width=width,
        depth=hf.get("num_hidden_layers", 32),
        heads=heads,
        kv_heads=hf.get("num_key_value_heads", defaults["kv_heads"]) or heads,
        head_size=hf.get("head_dim", defaults["head_size"]) or width // heads,
        inner=hf.get("intermediate_size", defaults["inner"]),
        vocabulary=hf.get("vocab_size", defaults["vocabulary"]),
        input_bias=bias or kind == "qwen2",
        output_bias=bias,
        mlp_bias=kind == "llama" and bool(hf.get("mlp_bias", False)),
        head_norm=kind == "qwen3",
        windows=_read_windows(hf),
        dropout=hf.get("hidden_dropout", 0.0),
        attention_dropout=hf.get("attention_dropout", 0.0),
        activation=activation(hf.get("hidden_act", "silu")),
        eps=hf.get("rms_norm_eps", 1e-6),
        tied=hf.get("tie_word_embeddings", False),
        std=hf.get("initializer_range", 0.02),
        positions=read_rotary(hf, length=defaults["length"], base=10_000.0),
    )


# What the published classes assume where config.json says nothing.
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"kv_heads": None, "head_size": None, "inner": 11_008, "vocabulary": 32_000, "length": 2048},
    "mistral": {"kv_heads": 8, "head_size": None, "inner": 14_336, "vocabulary": 32_000, "length": 131_072},
    "qwen2": {"kv_heads": 32, "head_size": None, "inner": 22_016, "vocabulary": 151_936, "length": 32_768},
    "qwen3": {"kv_heads": 32, "head_size": 128, "inner": 22_016, "vocabulary": 151_936, "length": 32_768},
}


def _read_windows(hf: Hf) -> tuple[int | None, ...]:
    """Mistral: one for all layers. Qwen: those of `layer_types`, or from `max_window_layers` on."""
    if hf["model_type"] == "llama":
        return (None,)
    if hf["model_type"] == "mistral":
        return (hf.get("sliding_window", 4096),)
    window = hf.get("sliding_window", 4096)
    if not hf.get("use_sliding_window", False) or window is None:
        return (None,)
    depth = min(hf.get("num_hidden_layers", 32), MAX_DEPTH)
    kinds = hf.get("layer_types") or [
        "sliding_attention" if layer >= hf.get("max_window_layers", 28) else "full_attention" for layer in range(depth)
    ]
    windows = tuple(window if kind == "sliding_attention" else None for kind in kinds)
    return windows[:1] if len(set(windows)) == 1 else windows


def _write(config: LanguageModelConfig, model_type: str, architecture: str) -> dict[str, Any]:
    transformer, attention = config.transformer, config.transformer.attention
    hf = {
        "model_type": model_type,
        "architectures": [architecture],
        "vocab_size": config.vocabulary,
        "hidden_size": transformer.width,
        "num_hidden_layers": transformer.depth,
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads or attention.heads,
        "head_dim": transformer.head_size,
        "intermediate_size": transformer.mlp.inner,
        "hidden_act": published_activation(transformer.mlp.activation),
        "attention_dropout": attention.dropout,
        "hidden_dropout": transformer.dropout,
        "rms_norm_eps": transformer.norm.eps,
        "initializer_range": config.initial.std,
        "tie_word_embeddings": config.head.tied,
    }
    extra: dict[str, Any] = {}
    if model_type in ("llama", "qwen3"):
        extra["attention_bias"] = attention.input_bias
    if model_type == "llama":
        extra["mlp_bias"] = transformer.mlp.bias
    if model_type == "mistral":
        extra["sliding_window"] = attention.windows[0]
    elif window := next((each for each in attention.windows if each is not None), None):
        cycle = [attention.windows[layer % len(attention.windows)] for layer in range(transformer.depth)]
        kinds = ["full_attention" if each is None else "sliding_attention" for each in cycle]
        extra |= {"use_sliding_window": True, "sliding_window": window, "layer_types": kinds, "max_window_layers": 0}
    return hf | extra | write_rotary(transformer.positions)


BLOCK, LAYER = "tower.transformer.blocks.*", "model.layers.*"
TABLE = Table(
    {
        "tower.embedding.tokens": "model.embed_tokens",
        f"{BLOCK}.attention_norm": f"{LAYER}.input_layernorm",
        f"{BLOCK}.attention.query_norm": f"{LAYER}.self_attn.q_norm",
        f"{BLOCK}.attention.key_norm": f"{LAYER}.self_attn.k_norm",
        f"{BLOCK}.attention.query": f"{LAYER}.self_attn.q_proj",
        f"{BLOCK}.attention.key": f"{LAYER}.self_attn.k_proj",
        f"{BLOCK}.attention.value": f"{LAYER}.self_attn.v_proj",
        f"{BLOCK}.attention.output": f"{LAYER}.self_attn.o_proj",
        f"{BLOCK}.mlp_norm": f"{LAYER}.post_attention_layernorm",
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


def _size(width: int, depth: int, heads: int, kv_heads: int, inner: int | None = None, **words: Any) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "kv_heads": kv_heads, "inner": inner, **words}


COMMON = {
    "tiny": _size(128, 2, 2, 1, **TINY_TEXT),
    "mini": _size(256, 4, 4, 2, **MINI_TEXT),
    "small": _size(512, 6, 8, 4, length=512),
    "base": _size(768, 12, 12, 4),
    "large": _size(1024, 24, 16, 8),
}
WINDOWED = {
    "tiny": COMMON["tiny"] | {"window": 32},
    "mini": COMMON["mini"] | {"window": 64},
    "small": COMMON["small"] | {"window": 128},
    "base": COMMON["base"] | {"window": 512},
    "large": COMMON["large"] | {"window": 512},
}
SPECIALS = {"unknown": "<unk>", "start": "<s>", "end": "</s>"}
QWEN_WORDS = {"vocabulary": 151_936, "eps": 1e-6, "tied": True, "base": 1e6}
QWEN_SPECIALS = {"end": "<|endoftext|>", "pad": "<|endoftext|>"}
common = partial(Family, kind="causal", make=llama, reader=read, table=lambda config: TABLE)

LLAMA_SIZES: dict[str, dict[str, Any]] = {
    "7b": _size(4096, 32, 32, 32, 11_008),
    "13b": _size(5120, 40, 40, 40, 13_824),
    "30b": _size(6656, 60, 52, 52, 17_920),
    "65b": _size(8192, 80, 64, 64, 22_016),
    "2-70b": _size(8192, 80, 64, 8, 28_672, length=4096),
    "3-8b": _size(4096, 32, 32, 8, 14_336, length=8192, vocabulary=128_256, base=500_000.0),
}
LLAMA = common(
    name="llama",
    model_types=("llama",),
    writer=lambda config: _write(config, "llama", "LlamaForCausalLM"),
    sizes=COMMON | LLAMA_SIZES,
    tokenizer="bpe",
    specials=SPECIALS,
    frame=(("start",), ()),
    en="the modern decoder: rotary positions, root-mean-square norms, gated layers",
    zh="现代解码器：旋转位置编码、均方根归一化、门控前馈",
)
MISTRAL = common(
    name="mistral",
    model_types=("mistral",),
    words={"window": 4096},
    writer=lambda config: _write(config, "mistral", "MistralForCausalLM"),
    sizes=WINDOWED | {"7b": _size(4096, 32, 32, 8, 14_336, length=32_768)},
    tokenizer="bpe",
    specials=SPECIALS,
    frame=(("start",), ()),
    en="Llama whose layers see back through a sliding window",
    zh="各层只看滑动窗口的 Llama",
)
QWEN2_SIZES: dict[str, dict[str, Any]] = {
    "0.5b": _size(896, 24, 14, 2, 4864, length=32_768),
    "1.5b": _size(1536, 28, 12, 2, 8960, length=32_768),
    "7b": _size(3584, 28, 28, 4, 18_944, length=32_768, vocabulary=152_064, tied=False),
}
QWEN2 = common(
    name="qwen2",
    model_types=("qwen2",),
    words=QWEN_WORDS | {"input_bias": True},
    writer=lambda config: _write(config, "qwen2", "Qwen2ForCausalLM"),
    sizes=COMMON | QWEN2_SIZES,
    tokenizer="bpe",
    specials=QWEN_SPECIALS,
    pattern="qwen",
    en="Llama with biases on queries, keys and values; strong in Chinese",
    zh="查询、键、值带偏置的 Llama，中文能力强",
)
QWEN3_SIZES: dict[str, dict[str, Any]] = {
    "0.6b": _size(1024, 28, 16, 8, 3072, head_size=128, length=40_960),
    "1.7b": _size(2048, 28, 16, 8, 6144, head_size=128, length=40_960),
    "4b": _size(2560, 36, 32, 8, 9728, head_size=128, length=40_960),
    "8b": _size(4096, 36, 32, 8, 12_288, head_size=128, length=40_960, tied=False),
}
QWEN3 = common(
    name="qwen3",
    model_types=("qwen3",),
    words=QWEN_WORDS | {"head_norm": True},
    writer=lambda config: _write(config, "qwen3", "Qwen3ForCausalLM"),
    sizes=COMMON | QWEN3_SIZES,
    tokenizer="bpe",
    specials=QWEN_SPECIALS,
    pattern="qwen",
    en="Llama with normalised heads; strong in Chinese",
    zh="对每个头做归一化的 Llama，中文能力强",
)
