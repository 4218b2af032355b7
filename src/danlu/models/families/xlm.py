"""XLM (Lample, Conneau 2019): one encoder for several languages, each token told which one it is written in."""

from typing import Any

from danlu.models.families.bert import BASE, bert
from danlu.models.families.family import LOCAL, MINI, SMALL, TINY, Family, Hf, only
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Table
from danlu.nn.initialize import Scheme
from danlu.nn.mlp import ActivationName


def xlm(
    *, width: int, depth: int, heads: int, languages: tuple[str, ...] = (), vocabulary: int = 95_000,
    length: int = 512, dropout: float = 0.1, attention_dropout: float = 0.1, activation: ActivationName = "gelu",
    eps: float = 1e-12, tied: bool = True, std: float = 0.02, initial: Scheme = "normal",
) -> LanguageModelConfig:  # fmt: skip
    """BERT's encoder without segments and without a transform before the vocabulary, with a vector for each of
    `languages` (two or more; one language needs none)."""
    config = bert(
        width=width, depth=depth, heads=heads, vocabulary=vocabulary, length=length, segments=0, dropout=dropout,
        attention_dropout=attention_dropout, activation=activation, eps=eps, tied=tied, std=std, initial=initial,
    )  # fmt: skip
    told = tuple(languages) if len(languages) > 1 else ()
    return config.model_copy(
        update={
            "embedding": config.embedding.model_copy(update={"languages": told}),
            "head": config.head.model_copy(update={"transform": None}),
        }
    )


def read(hf: Hf) -> LanguageModelConfig:
    """Sinusoidal positions are a table in the file like any other, so they are read as one that may learn."""
    only(hf, causal=False, asm=False, is_encoder=True)
    return xlm(
        width=hf.get("emb_dim", 2048),
        depth=hf.get("n_layers", 12),
        heads=hf.get("n_heads", 16),
        languages=_languages(hf),
        vocabulary=hf.get("vocab_size", hf.get("n_words", 30_145)),
        length=hf.get("max_position_embeddings", 512),
        dropout=hf.get("dropout", 0.1),
        attention_dropout=hf.get("attention_dropout", 0.1),
        activation="gelu" if hf.get("gelu_activation", True) else "relu",
        eps=hf.get("layer_norm_eps", 1e-12),
        tied=hf.get("tie_word_embeddings", True),
        std=hf.get("init_std", 0.02),
    )


def _languages(hf: Hf) -> tuple[str, ...]:
    """Their names by id; numbers where the file gives none."""
    count = hf.get("n_langs", 1) if hf.get("use_lang_emb", True) else 1
    names = {int(index): str(name) for name, index in (hf.get("lang2id") or {}).items()}
    return tuple(names.get(index, str(index)) for index in range(count)) if count > 1 else ()


def write(config: LanguageModelConfig) -> dict[str, Any]:
    positions, transformer, languages = config.embedding.positions, config.transformer, config.embedding.languages
    if positions is None:
        raise ValueError("positions")
    return {
        "model_type": "xlm",
        "architectures": ["XLMWithLMHeadModel"],
        "vocab_size": config.vocabulary,
        "emb_dim": transformer.width,
        "n_layers": transformer.depth,
        "n_heads": transformer.attention.heads,
        "dropout": transformer.dropout,
        "attention_dropout": transformer.attention.dropout,
        "gelu_activation": transformer.mlp.activation == "gelu",
        "sinusoidal_embeddings": False,
        "n_langs": max(1, len(languages)),
        "use_lang_emb": True,
        "lang2id": {name: index for index, name in enumerate(languages)},
        "id2lang": {str(index): name for index, name in enumerate(languages)},
        "max_position_embeddings": positions.length,
        "layer_norm_eps": transformer.norm.eps,
        "init_std": config.initial.std,
        "embed_init_std": config.initial.std,
        "tie_word_embeddings": config.head.tied,
    }


BLOCK = "tower.transformer.blocks.*"
NAMES = {
    "tower.embedding.tokens": "transformer.embeddings",
    "tower.embedding.positions": "transformer.position_embeddings",
    "tower.embedding.languages": "transformer.lang_embeddings",
    "tower.embedding.norm": "transformer.layer_norm_emb",
    f"{BLOCK}.attention.query": "transformer.attentions.*.q_lin",
    f"{BLOCK}.attention.key": "transformer.attentions.*.k_lin",
    f"{BLOCK}.attention.value": "transformer.attentions.*.v_lin",
    f"{BLOCK}.attention.output": "transformer.attentions.*.out_lin",
    f"{BLOCK}.attention_norm": "transformer.layer_norm1.*",
    f"{BLOCK}.mlp.up": "transformer.ffns.*.lin1",
    f"{BLOCK}.mlp.down": "transformer.ffns.*.lin2",
    f"{BLOCK}.mlp_norm": "transformer.layer_norm2.*",
    "head.output": "pred_layer.proj",
}
TABLE = Table(
    NAMES,
    "transformer.",
    optional=("head.", "pairs."),
    spare=(r"sequence_summary\..*", r"qa_outputs\..*", r"classifier\..*"),
    buffers=(r"position_ids",),
)

XLM = Family(
    name="xlm",
    kind="masked",
    model_types=("xlm",),
    make=xlm,
    reader=read,
    writer=write,
    table=lambda config: TABLE,
    # the paper's: 12 layers of 1024, 8 heads, 95,000 entries of byte pairs (4.2)
    sizes={
        "tiny": TINY | LOCAL, "mini": MINI | LOCAL, "small": SMALL | LOCAL, "base": BASE,
        "large": {"width": 1024, "depth": 12, "heads": 8},
    },
    tokenizer="bpe",
    specials={
        "start": "</s>", "end": "</s>", "separator": "</s>", "pad": "<pad>", "unknown": "<unk>", "mask": "<special1>",
    },
    frame=(("start",), ("separator",)),
    en="encoder for several languages at once, told which is which; learns from translations as well",
    zh="同时学习多种语言并标明语种的编码器，也能从译文对照中学习",
)  # fmt: skip
