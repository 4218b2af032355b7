"""BERT (Devlin et al. 2018), RoBERTa (Liu et al. 2019) and XLM-R (Conneau et al. 2019)."""

from collections.abc import Mapping
from typing import Any

from danlu.models.families.family import LOCAL, MINI, SMALL, TINY, Family, Hf, activation, only, published_activation
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Stored, Table
from danlu.nn.attention import AttentionConfig
from danlu.nn.embedding import TokenEmbeddingConfig
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import InitialConfig, Scheme
from danlu.nn.mlp import ActivationName, MlpConfig, NormConfig
from danlu.nn.positions import LearnedPositions
from danlu.nn.transformer import TransformerConfig


def bert(
    *, width: int, depth: int, heads: int, inner: int | None = None, vocabulary: int = 30_522, length: int = 512,
    offset: int = 0, segments: int = 2, dropout: float = 0.1, attention_dropout: float = 0.1,
    activation: ActivationName = "gelu", transform: ActivationName | None = None, eps: float = 1e-12, tied: bool = True,
    std: float = 0.02, initial: Scheme = "normal", pairs: bool = False,
) -> LanguageModelConfig:  # fmt: skip
    """An encoder with norms after each sum. offset: rows of the position table kept for padding. pairs: with a
    head for next-sentence prediction."""
    norm = NormConfig(eps=eps)
    positions = LearnedPositions(length=length, offset=offset)
    return LanguageModelConfig(
        embedding=TokenEmbeddingConfig(
            vocabulary=vocabulary, positions=positions, segments=segments, norm=norm, dropout=dropout
        ),
        transformer=TransformerConfig(
            width=width,
            depth=depth,
            attention=AttentionConfig(heads=heads, dropout=attention_dropout),
            mlp=MlpConfig(inner=inner or 4 * width, activation=activation),
            norm=norm,
            norm_after=True,
            final_norm=False,
            dropout=dropout,
        ),
        head=HeadConfig(tied=tied, bias=True, transform=transform or activation, norm=norm),
        initial=InitialConfig(scheme=initial, std=std),
        pairs=pairs,
    )


def read(hf: Hf) -> LanguageModelConfig:
    only(hf, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    plain = hf["model_type"] == "bert"
    offset = 0 if plain else hf.get("pad_token_id", 1) + 1
    return bert(
        width=hf.get("hidden_size", 768),
        depth=hf.get("num_hidden_layers", 12),
        heads=hf.get("num_attention_heads", 12),
        inner=hf.get("intermediate_size", 3072),
        vocabulary=hf.get("vocab_size", 30_522 if plain else 50_265),
        length=hf.get("max_position_embeddings", 512) - offset,
        offset=offset,
        segments=hf.get("type_vocab_size", 2),
        dropout=hf.get("hidden_dropout_prob", 0.1),
        attention_dropout=hf.get("attention_probs_dropout_prob", 0.1),
        activation=activation(hf.get("hidden_act", "gelu")),
        transform=None if plain else "gelu",
        eps=hf.get("layer_norm_eps", 1e-12),
        tied=hf.get("tie_word_embeddings", True),
        std=hf.get("initializer_range", 0.02),
        pairs=plain and WITH_PAIRS in (hf.get("architectures") or ()),
    )


def _write(config: LanguageModelConfig, model_type: str, architecture: str) -> dict[str, Any]:
    positions, transformer = config.embedding.positions, config.transformer
    if positions is None:
        raise ValueError("positions")
    hf = {
        "model_type": model_type,
        "architectures": [architecture],
        "vocab_size": config.vocabulary,
        "hidden_size": transformer.width,
        "num_hidden_layers": transformer.depth,
        "num_attention_heads": transformer.attention.heads,
        "intermediate_size": transformer.mlp.inner,
        "hidden_act": published_activation(transformer.mlp.activation),
        "hidden_dropout_prob": transformer.dropout,
        "attention_probs_dropout_prob": transformer.attention.dropout,
        "max_position_embeddings": positions.length + positions.offset,
        "type_vocab_size": config.embedding.segments,
        "layer_norm_eps": transformer.norm.eps,
        "initializer_range": config.initial.std,
        "tie_word_embeddings": config.head.tied,
    }
    return hf | ({"pad_token_id": positions.offset - 1} if positions.offset else {})


WITH_PAIRS = "BertForPreTraining"
BLOCK, LAYER = "tower.transformer.blocks.*", "encoder.layer.*"
TOWER = {
    "tower.embedding.tokens": "embeddings.word_embeddings",
    "tower.embedding.positions": "embeddings.position_embeddings",
    "tower.embedding.segments": "embeddings.token_type_embeddings",
    "tower.embedding.norm": "embeddings.LayerNorm",
    f"{BLOCK}.attention.query": f"{LAYER}.attention.self.query",
    f"{BLOCK}.attention.key": f"{LAYER}.attention.self.key",
    f"{BLOCK}.attention.value": f"{LAYER}.attention.self.value",
    f"{BLOCK}.attention.output": f"{LAYER}.attention.output.dense",
    f"{BLOCK}.attention_norm": f"{LAYER}.attention.output.LayerNorm",
    f"{BLOCK}.mlp.up": f"{LAYER}.intermediate.dense",
    f"{BLOCK}.mlp.down": f"{LAYER}.output.dense",
    f"{BLOCK}.mlp_norm": f"{LAYER}.output.LayerNorm",
}
SPARE = (r"pooler\..*", r"cls\.seq_relationship\..*", r"classifier\..*", r"qa_outputs\..*")


def _table(prefix: str, head: str, transform: dict[str, str], tied: bool, pairs: Mapping[str, str]) -> Table:
    """The output bias goes by two names, one on the head and one on its decoder. Untied, the reference reads the
    decoder's and still expects the other."""
    bias, decoder_bias = f"{head}.bias", f"{head}.decoder.bias"
    names: dict[str, str | Stored] = {ours: f"{prefix}{theirs}" for ours, theirs in TOWER.items()}
    names |= {f"head.transform.{ours}": f"{head}.{theirs}" for ours, theirs in transform.items()} | dict(pairs)
    return Table(
        names | {"head.output.bias": bias if tied else decoder_bias, "head.output": f"{head}.decoder"},
        prefix,
        aliases={decoder_bias: bias} if tied else {bias: decoder_bias},
        copies=() if tied else (bias,),
        optional=("head.", "pairs."),
        spare=SPARE,
        buffers=(r"embeddings\.(position_ids|token_type_ids)",),
    )


BERT_HEAD = {"dense": "transform.dense", "norm": "transform.LayerNorm"}
ROBERTA_HEAD = {"dense": "dense", "norm": "layer_norm"}
PAIRS = {"pairs.pooler": "bert.pooler.dense", "pairs.output": "cls.seq_relationship"}
BERT_TABLES = {tied: _table("bert.", "cls.predictions", BERT_HEAD, tied, PAIRS) for tied in (True, False)}
ROBERTA_TABLES = {tied: _table("roberta.", "lm_head", ROBERTA_HEAD, tied, {}) for tied in (True, False)}

# One segment, and positions counted after two rows kept for padding.
ROBERTA_WORDS = {"vocabulary": 50_265, "eps": 1e-5, "segments": 1, "offset": 2, "transform": "gelu"}
BASE: dict[str, Any] = {"width": 768, "depth": 12, "heads": 12}
LARGE: dict[str, Any] = {"width": 1024, "depth": 24, "heads": 16}
COMMON = {"tiny": TINY | LOCAL, "mini": MINI | LOCAL, "base": BASE, "large": LARGE}
ROBERTA_SPECIALS = {
    "start": "<s>", "pad": "<pad>", "end": "</s>", "separator": "</s>", "unknown": "<unk>", "mask": "<mask>",
}  # fmt: skip

BERT = Family(
    name="bert",
    kind="masked",
    model_types=("bert",),
    make=bert,
    reader=read,
    writer=lambda config: _write(config, "bert", WITH_PAIRS if config.pairs else "BertForMaskedLM"),
    table=lambda config: BERT_TABLES[config.head.tied],
    # Turc et al. 2019 for the small ones
    sizes=COMMON | {"small": SMALL | LOCAL | {"depth": 4}, "medium": SMALL | LOCAL | {"depth": 8}},
    tokenizer="wordpiece",
    specials={
        "pad": "[PAD]",
        "unknown": "[UNK]",
        "start": "[CLS]",
        "separator": "[SEP]",
        "end": "[SEP]",
        "mask": "[MASK]",
    },
    frame=(("start",), ("separator",)),
    en="encoder trained to fill in masked words; the one to fine-tune for understanding",
    zh="以完形填空方式训练的编码器，适合微调各类理解任务",
)
ROBERTA = Family(
    name="roberta",
    kind="masked",
    model_types=("roberta",),
    make=bert,
    words=ROBERTA_WORDS,
    reader=read,
    writer=lambda config: _write(config, "roberta", "RobertaForMaskedLM"),
    table=lambda config: ROBERTA_TABLES[config.head.tied],
    sizes=COMMON | {"small": SMALL | LOCAL},
    tokenizer="bpe",
    specials=ROBERTA_SPECIALS,
    frame=(("start",), ("separator",)),
    en="BERT trained longer and with fresh masks each time, on bytes",
    zh="训练更久、每轮重新遮盖的 BERT，使用字节级词表",
)
XLM_ROBERTA = Family(
    name="xlm-roberta",
    kind="masked",
    model_types=("xlm-roberta",),
    make=bert,
    words=ROBERTA_WORDS | {"vocabulary": 250_002},
    reader=read,
    writer=lambda config: _write(config, "xlm-roberta", "XLMRobertaForMaskedLM"),
    table=lambda config: ROBERTA_TABLES[config.head.tied],
    sizes=COMMON | {"small": SMALL | LOCAL},
    tokenizer="unigram",
    specials=ROBERTA_SPECIALS,
    frame=(("start",), ("separator",)),
    en="RoBERTa for a hundred languages at once",
    zh="同时支持一百种语言的 RoBERTa",
)
