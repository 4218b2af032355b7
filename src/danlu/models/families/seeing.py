"""Language models that see, without a tower: GPT-3's and PaLM's trunks look at patches themselves.

No published class computes them; they keep our own names. The trunks are those of their families: positions are added
in the one, and turned on three axes (time, row, column) in the other.
"""

from typing import Any, NoReturn

from danlu.models.dual import SimilarityConfig
from danlu.models.families.family import Family
from danlu.models.families.gpt import GPT3, gpt2
from danlu.models.families.palm import PALM, palm
from danlu.models.language import LanguageModelConfig
from danlu.models.multimodal import MultimodalConfig
from danlu.nn.positions import RotaryPositions
from danlu.vision.patches import PatchConfig

MARKS = ("<media>", "<picture>", "</media>")  # before a picture, each of its vectors, behind it
SIGMOID = {"start": 2.302585, "bias": -10.0}  # factor 10 and bias as SigLIP begins (Zhai et al. 2023, 3.2)


def seeing(
    trunk: LanguageModelConfig, size: int, patch: int, common: int | None, ids: tuple[int, int, int] | None,
    both_ways: bool,
) -> MultimodalConfig:  # fmt: skip
    """A trunk that looks at patches. ids: of MARKS; the last three of the vocabulary where they are not known yet."""
    opening, media, closing = ids or tuple(range(trunk.vocabulary - 3, trunk.vocabulary))
    return MultimodalConfig(
        **{name: value for name, value in trunk if name != "kind"},
        image=PatchConfig(size=size, patch=patch, summary=False, bias=True),
        media=media,
        before=(opening,),
        after=(closing,),
        axes=isinstance(trunk.transformer.positions, RotaryPositions),
        both_ways=both_ways,
        common=common,
        similarity=SimilarityConfig(**SIGMOID),
    )


def gpt3_vision(
    *, width: int, depth: int, heads: int, vocabulary: int = 50_257, length: int = 2048, dropout: float = 0.0,
    attention_dropout: float = 0.0, window: int | None = None, size: int = 224, patch: int = 16,
    common: int | None = 512, both_ways: bool = True, ids: tuple[int, int, int] | None = None,
) -> MultimodalConfig:  # fmt: skip
    """GPT-3 with eyes. size, patch: pixels along an edge of pictures and of their patches. common: the width of the
    space that texts, pictures and films share; none without one. both_ways: the patches of a picture see each other."""
    trunk = gpt2(
        width=width, depth=depth, heads=heads, vocabulary=vocabulary, length=length, dropout=dropout,
        attention_dropout=attention_dropout, window=window,
    )  # fmt: skip
    return seeing(trunk, size, patch, common, ids, both_ways)


def palm_vision(
    *, width: int, depth: int, heads: int, kv_heads: int = 1, head_size: int | None = None, vocabulary: int = 256_000,
    length: int = 2048, dropout: float = 0.0, attention_dropout: float = 0.0, size: int = 224, patch: int = 16,
    common: int | None = 512, both_ways: bool = True, ids: tuple[int, int, int] | None = None,
) -> MultimodalConfig:  # fmt: skip
    """PaLM with eyes; size, patch, common, both_ways as above."""
    trunk = palm(
        width=width, depth=depth, heads=heads, kv_heads=kv_heads, head_size=head_size, vocabulary=vocabulary,
        length=length, dropout=dropout, attention_dropout=attention_dropout,
    )  # fmt: skip
    return seeing(trunk, size, patch, common, ids, both_ways)


def unpublished(config: Any) -> NoReturn:
    raise ValueError("no published class looks at patches without a tower")


TINY_EYES: dict[str, Any] = {"length": 256, "size": 32, "patch": 8, "common": 64}
MINI_EYES: dict[str, Any] = {"length": 512, "size": 64, "patch": 8, "common": 128}


def _sizes(family: Family) -> dict[str, dict[str, Any]]:
    """The trunk's sizes; pictures of 32 and 64 pixels for what a laptop can train."""
    sizes = {name: dict(words) for name, words in family.sizes.items()}
    return sizes | {
        "tiny": sizes["tiny"] | TINY_EYES,
        "mini": sizes["mini"] | MINI_EYES,
    }


GPT3_VISION = Family(
    name="gpt3-vision",
    kind="multimodal",
    model_types=(),
    make=gpt3_vision,
    words=GPT3.words,
    reader=unpublished,
    writer=unpublished,
    table=GPT3.table,
    sizes=_sizes(GPT3),
    tokenizer=GPT3.tokenizer,
    specials=GPT3.specials,
    extra_tokens=MARKS,
    en="a GPT-3 that sees: answers questions about pictures and films, describes them, finds them",
    zh="能看图的 GPT-3：回答关于图片与影片的问题、描述、检索",
)
PALM_VISION = Family(
    name="palm-vision",
    kind="multimodal",
    model_types=(),
    make=palm_vision,
    reader=unpublished,
    writer=unpublished,
    table=PALM.table,
    sizes=_sizes(PALM),
    tokenizer=PALM.tokenizer,
    specials=PALM.specials,
    frame=PALM.frame,
    extra_tokens=MARKS,
    z_weight=PALM.z_weight,
    en="a PaLM that sees, its positions on three axes: time, row, column",
    zh="能看图的 PaLM，位置沿时间、行、列三轴旋转",
)
