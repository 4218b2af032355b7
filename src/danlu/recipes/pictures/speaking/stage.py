"""What training a language model that sees can be told, and what it is given when nothing was said."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from danlu.adapt import Adapt
from danlu.data.pictures.prepare import Gathered
from danlu.data.pictures.settings import PictureSettings
from danlu.data.settings import Paths
from danlu.models.language import LanguageModelConfig
from danlu.recipes.pictures.plan import Planner, filled
from danlu.recipes.runs.call import Common
from danlu.recipes.starting.start import Start, TokenizerChoice
from danlu.settings import Data, Settings
from danlu.train.contrast import ContrastSettings
from danlu.train.objectives import TokenSettings
from danlu.train.optimizers import OptimizerName
from danlu.train.settings import TrainSettings

SEEN = {"tiny": 60_000, "mini": 200_000, "small": 2_000_000}  # pictures in a run, at most so many times each
TIMES, FEW_TIMES = 60, 3
BATCH, LARGE_BATCH = 64, 128
# At this width of the trunk; they fall as one over the root of the width.
RATES: dict[OptimizerName, float] = {"muon": 7e-3, "adamw": 1e-3}
WIDTH, CAREFUL = 256, 0.5  # a share of the rate, of models that are not small
FURTHER = 5e-5  # of a trunk that has learnt, at a width of 768 (Liu et al. 2023: 2e-5 at 4096)
ALONE = 1e-3  # of what is new to a trunk that is locked (Liu et al. 2023, stage 1)
TRAIN: Data = {"weight_decay": 0.1, "betas": [0.9, 0.98], "eps": 1e-6, "warmup": 0.05}
PAIRED = 0.5  # weight of the loss of pairs beside that of answers
Locked = Literal["image", "trunk"]


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class PairSettings(ContrastSettings):
    """The loss of pairs, for the space that texts, pictures and films share. kind: sigmoid (SigLIP) or contrastive
    (CLIP). weight: beside the loss of answers; 0: none of it."""

    kind: Literal["sigmoid", "contrastive"] = "sigmoid"
    weight: float | None = Field(None, ge=0)


class TextSettings(Settings):
    """Text without pictures, so that the model does not forget it: `paths` as of pretraining, `share` of all steps."""

    paths: Paths = ()
    share: float = Field(0.15, gt=0, lt=1)


class TeachSeeing(Common):
    """`danlu pretrain palm-vision-mini PICTURES`, `danlu finetune RUN PICTURES`: from pictures with questions and
    answers, or with captions, to a language model that sees.

    start, size, model, tokenizer: as with text. tower: a CLIP, whose eyes a language model without any is given, or
    `patches`, which it looks at itself; START is that language model, `model` says of its eyes size, patch, shuffle,
    common, axes, both_ways. pairs: the loss of pictures and their captions. lock: parts that stay as they are,
    `image`, `trunk` or both, as in the first of two stages. faster: how many times as fast as the trunk of a model
    that has learnt, what is new in it learns. text: text without pictures. adapt: what trains of the trunk, `lora` …
    """

    verb: str = Field("pretrain", pattern="^(pretrain|finetune)$")
    start: str
    size: str | None = None
    tower: str | None = None
    data: PictureSettings = PictureSettings()
    text: TextSettings = TextSettings()
    tokenizer: TokenizerChoice = TokenizerChoice()
    model: dict[str, Any] = Field(default_factory=dict)
    loss: TokenSettings = TokenSettings()
    pairs: PairSettings = PairSettings()
    lock: Annotated[tuple[Locked, ...], BeforeValidator(_split)] = ()
    faster: float = Field(10.0, gt=0)
    adapt: Adapt | None = None
    train: TrainSettings = TrainSettings()


def defaults(start: Start, gathered: Gathered, given: Data) -> Data:
    """Settings for everything that was not given."""
    train, fresh, pictures = given.get("train") or {}, start.where is None, len(gathered.training)
    assert isinstance(start.config, LanguageModelConfig)
    small = start.size in ("tiny", "mini")
    optimizer = train.get("optimizer", "muon" if fresh and small else "adamw")
    width = start.config.transformer.width
    if fresh:
        rate = RATES.get(optimizer, RATES["adamw"]) * (WIDTH / width) ** 0.5 * (1 if small else CAREFUL)
    else:
        rate = ALONE if "trunk" in (given.get("lock") or ()) else FURTHER * min(4.0, 768 / width)
    batch = train.get("batch") or max(2, min(BATCH if small else LARGE_BATCH, pictures // 4))
    found: Data = {"train": TRAIN | {"optimizer": optimizer, "lr": float(f"{rate:.2g}"), "batch": batch}}
    if not any(train.get(name) for name in ("steps", "epochs", "minutes")):
        times = TIMES if fresh and small else FEW_TIMES
        seen = min(SEEN.get(start.size, times * pictures), times * pictures)
        found["train"]["steps"] = max(20, round(seen / (batch * train.get("accumulate", 1))))
    captioned = all(pair.captions for pair in gathered.training)
    shared = (given.get("model") or {}).get("common", getattr(start.config, "common", None)) is not None
    if (given.get("pairs") or {}).get("weight") is None:
        found["pairs"] = {"weight": PAIRED if captioned and shared else 0.0}
    return found


def _complete(settings: TeachSeeing, start: Start, gathered: Gathered, given: Data, source: str) -> TeachSeeing:
    return filled(settings, start, defaults(start, gathered, given), given, {}, source)


plan: Planner[TeachSeeing] = Planner(TeachSeeing, _complete, asks=True)
