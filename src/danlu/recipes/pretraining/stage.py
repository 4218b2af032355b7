"""What `danlu pretrain` can be told."""

from typing import Any

from pydantic import Field

from danlu.adapt import Adapt
from danlu.data.corruption import CorruptionSettings
from danlu.data.sources import DataSettings
from danlu.recipes.pretraining.objectives import Weights
from danlu.recipes.runs.call import Common
from danlu.recipes.runs.samples import SampleSettings
from danlu.recipes.starting.start import TokenizerChoice
from danlu.train.objectives import TokenSettings
from danlu.train.settings import TrainSettings


class Pretrain(Common):
    """`danlu pretrain START DATA`: from text to a model.

    start: a fresh model (`gpt-mini`), a folder, a run or a hub name. size: tiny, mini, small, base, large, of a family
    named without one. recipe: `paper`, `modern` or a name of `danlu ls recipes`: what else is said goes over it. model:
    dimensions that differ from the size's. objective: names and weights, `mlm+nsp` or {mlm: 1.0, nsp: 0.5}; the
    family's own where not given. adapt: what trains; everything where not given. What is None or "auto" is inferred
    from the model and the amount of text before anything loads, and stands in config.yaml.
    """

    verb: str = Field("pretrain", pattern="^pretrain$")
    start: str
    size: str | None = None
    recipe: str | None = None
    data: DataSettings = DataSettings()
    tokenizer: TokenizerChoice = TokenizerChoice()
    model: dict[str, Any] = Field(default_factory=dict)
    corruption: CorruptionSettings = CorruptionSettings()
    objective: Weights = Field(default_factory=dict)
    loss: TokenSettings = TokenSettings()
    adapt: Adapt | None = None
    train: TrainSettings = TrainSettings()
    samples: SampleSettings = SampleSettings()
