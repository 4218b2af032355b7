"""ELECTRA (Clark et al. 2020): a detector of replaced tokens, and the small generator that replaces them."""

from typing import Any, Literal

from danlu.models.families.bert import TOWER, bert
from danlu.models.families.family import LOCAL, MINI, TINY, Family, Hf, activation, only, published_activation
from danlu.models.language import LanguageModelConfig
from danlu.models.weights import Table
from danlu.nn.heads import HeadConfig
from danlu.nn.initialize import Scheme
from danlu.nn.mlp import ActivationName, NormConfig

Part = Literal["both", "detector", "generator"]
DETECTOR, GENERATOR = "ElectraForPreTraining", "ElectraForMaskedLM"


def electra(
    *, width: int, depth: int, heads: int, inner: int | None = None, table_width: int | None = None,
    vocabulary: int = 30_522, length: int = 512, segments: int = 2, dropout: float = 0.1,
    attention_dropout: float = 0.1, activation: ActivationName = "gelu", eps: float = 1e-12, tied: bool = True,
    std: float = 0.02, initial: Scheme = "normal", share: float = 0.25, part: Part = "detector",
) -> LanguageModelConfig:  # fmt: skip
    """BERT's encoder over tables that may be narrower. share: of the detector's heads that the generator has, each as
    wide. part: both, as they are trained, or one alone, as they are published; then the words are of that one."""
    norm = NormConfig(eps=eps)

    def encoder(width: int, heads: int, inner: int | None) -> LanguageModelConfig:
        found = bert(
            width=width, depth=depth, heads=heads, inner=inner, vocabulary=vocabulary, length=length, segments=segments,
            dropout=dropout, attention_dropout=attention_dropout, activation=activation, eps=eps, std=std,
            initial=initial,
        )  # fmt: skip
        table = found.embedding.model_copy(update={"width": table_width or width, "whole": True})
        return found.model_copy(update={"embedding": table})

    if part == "generator":
        head = HeadConfig(tied=tied, bias=True, transform="gelu", norm=norm, narrow=True)
        return encoder(width, heads, inner).model_copy(update={"head": head})
    detector = encoder(width, heads, inner).model_copy(update={"detector": activation, "head": HeadConfig()})
    if part == "detector":
        return detector
    fewer = max(1, round(heads * share))
    generator = electra(
        width=width // heads * fewer, depth=depth, heads=fewer, inner=inner and inner * fewer // heads,
        table_width=table_width or width, vocabulary=vocabulary, length=length, segments=segments, dropout=dropout,
        attention_dropout=attention_dropout, activation=activation, eps=eps, tied=tied, std=std, initial=initial,
        part="generator",
    )  # fmt: skip
    return detector.model_copy(update={"generator": generator})


def read(hf: Hf) -> LanguageModelConfig:
    """ElectraForMaskedLM is a generator; every other class has a detector's tower."""
    only(hf, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    return electra(
        width=hf.get("hidden_size", 256),
        depth=hf.get("num_hidden_layers", 12),
        heads=hf.get("num_attention_heads", 4),
        inner=hf.get("intermediate_size", 1024),
        table_width=hf.get("embedding_size", 128),
        vocabulary=hf.get("vocab_size", 30_522),
        length=hf.get("max_position_embeddings", 512),
        segments=hf.get("type_vocab_size", 2),
        dropout=hf.get("hidden_dropout_prob", 0.1),
        attention_dropout=hf.get("attention_probs_dropout_prob", 0.1),
        activation=activation(hf.get("hidden_act", "gelu")),
        eps=hf.get("layer_norm_eps", 1e-12),
        tied=hf.get("tie_word_embeddings", True),
        std=hf.get("initializer_range", 0.02),
        part="generator" if GENERATOR in (hf.get("architectures") or ()) else "detector",
    )


def write(config: LanguageModelConfig) -> dict[str, Any]:
    positions, transformer = config.embedding.positions, config.transformer
    if positions is None or config.generator is not None:
        raise ValueError("detector and generator are two published models")
    return {
        "model_type": "electra",
        "architectures": [DETECTOR if config.detector else GENERATOR],
        "vocab_size": config.vocabulary,
        "embedding_size": config.embedding.width,
        "hidden_size": transformer.width,
        "num_hidden_layers": transformer.depth,
        "num_attention_heads": transformer.attention.heads,
        "intermediate_size": transformer.mlp.inner,
        "hidden_act": published_activation(transformer.mlp.activation),
        "hidden_dropout_prob": transformer.dropout,
        "attention_probs_dropout_prob": transformer.attention.dropout,
        "max_position_embeddings": positions.length,
        "type_vocab_size": config.embedding.segments,
        "layer_norm_eps": transformer.norm.eps,
        "initializer_range": config.initial.std,
        "tie_word_embeddings": config.head.tied,
    }


NAMES = {ours: f"electra.{theirs}" for ours, theirs in TOWER.items()} | {
    "tower.embedding.projection": "electra.embeddings_project",
    "detector.dense": "discriminator_predictions.dense",
    "detector.output": "discriminator_predictions.dense_prediction",
    "head.transform.dense": "generator_predictions.dense",
    "head.transform.norm": "generator_predictions.LayerNorm",
    "head.output": "generator_lm_head",
}
TABLE = Table(
    NAMES,
    prefix="electra.",
    optional=("detector.", "head."),
    spare=(r"classifier\..*", r"qa_outputs\..*", r"discriminator_predictions\..*", r"generator_.*"),
    buffers=(r"embeddings\.(position_ids|token_type_ids)",),
)

ELECTRA = Family(
    name="electra",
    kind="masked",
    model_types=("electra",),
    make=electra,
    reader=read,
    writer=write,
    table=lambda config: TABLE,
    sizes={  # Clark et al. 2020, table 6
        "tiny": TINY | LOCAL | {"table_width": 64, "share": 0.5},
        "mini": MINI | LOCAL | {"table_width": 128},
        "small": {"width": 256, "depth": 12, "heads": 4, "table_width": 128},
        "base": {"width": 768, "depth": 12, "heads": 12, "share": 1 / 3},
        "large": {"width": 1024, "depth": 24, "heads": 16},
    },
    tokenizer="wordpiece",
    specials={
        "pad": "[PAD]", "unknown": "[UNK]", "start": "[CLS]", "separator": "[SEP]", "end": "[SEP]", "mask": "[MASK]",
    },
    frame=(("start",), ("separator",)),
    objective="rtd",
    en="encoder that finds the words another model has replaced; learns from every token",
    zh="找出被另一模型替换的词的编码器，从每个词元中学习",
)  # fmt: skip
