"""What training on pictures can be told, and what it is given when nothing was said."""

from typing import Any, Literal

from pydantic import Field

from danlu.data.pictures.settings import PictureSettings
from danlu.models.build import ModelConfig
from danlu.models.dual import DualConfig
from danlu.recipes.runs.call import Common
from danlu.recipes.starting.start import TokenizerChoice
from danlu.settings import Data, merge
from danlu.train.contrast import ContrastSettings
from danlu.train.optimizers import OptimizerName
from danlu.train.settings import TrainSettings

ContrastName = Literal["contrastive", "sigmoid"]
SMOOTHED = {"align": 0.1}  # Jia et al. 2021, section 5.1
SEEN = {"tiny": 60_000, "mini": 400_000, "small": 2_000_000}  # pictures in a run, at most so many times each
TIMES, FEW_TIMES = 60, 30
BATCH = {"tiny": 128, "mini": 128}
LARGE_BATCH, MICRO = 1024, 32  # of larger models: the batch, and how much of it is embedded at once
# At this width of the text tower; they fall as one over the root of the width. Small vision transformers learn several
# times faster with Muon, convolutions are none of its matrices: docs/log.md.
RATES: dict[OptimizerName, float] = {"muon": 7e-3, "adamw": 2e-3}
WIDTH, CAREFUL = 256, 0.5  # a share of the rate, of models that are not small
FURTHER = 0.1
TRAIN: Data = {"weight_decay": 0.1, "betas": [0.9, 0.98], "eps": 1e-6, "warmup": 0.1}


class PretrainPictures(Common):
    """`danlu pretrain clip-mini PICTURES`: from pictures with captions to a model of both.

    start, size, model, tokenizer: as with text. objective: contrastive (CLIP, ALIGN) or sigmoid (SigLIP); the family's
    own where not given. lock: a tower that stays as it is (LiT: image).
    """

    verb: str = Field("pretrain", pattern="^(pretrain|finetune)$")
    start: str
    size: str | None = None
    data: PictureSettings = PictureSettings()
    tokenizer: TokenizerChoice = TokenizerChoice()
    model: dict[str, Any] = Field(default_factory=dict)
    objective: ContrastName | None = None
    loss: ContrastSettings = ContrastSettings()
    lock: Literal["image", "text"] | None = None
    train: TrainSettings = TrainSettings()


def defaults(family: str, size: str, config: ModelConfig, pictures: int, given: Data, fresh: bool) -> Data:
    """Settings for everything that was not given. pictures: how many there are to learn from."""
    train = given.get("train") or {}
    assert isinstance(config, DualConfig)
    small = size in BATCH
    optimizer = train.get("optimizer", "muon" if small and config.image.kind == "transformer" else "adamw")
    rate = RATES.get(optimizer, RATES["adamw"]) * (WIDTH / config.text.width) ** 0.5
    rate *= (1 if small else CAREFUL) * (1 if fresh else FURTHER)
    batch = train.get("batch") or max(2, min(BATCH.get(size, LARGE_BATCH), pictures // 4))
    found: Data = {"train": TRAIN | {"optimizer": optimizer, "lr": float(f"{rate:.2g}"), "batch": batch}}
    if not small and batch > MICRO and config.size >= 200:
        found["train"]["micro"] = MICRO
    if not any(train.get(name) for name in ("steps", "epochs", "minutes")):
        seen = min(SEEN.get(size, FEW_TIMES * pictures), (TIMES if small else FEW_TIMES) * pictures)
        found["train"]["steps"] = max(20, round(seen / (batch * train.get("accumulate", 1))))
    if family in SMOOTHED and "smoothing" not in (given.get("loss") or {}):
        found["loss"] = {"smoothing": SMOOTHED[family]}
    return merge(found, {})
