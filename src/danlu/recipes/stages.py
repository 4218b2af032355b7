"""What a stage can be told: one settings class a verb that trains."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from danlu.adapt import Adapt
from danlu.data.corruption import CorruptionSettings
from danlu.data.sources import DataSettings
from danlu.recipes.call import Common
from danlu.recipes.objectives import Weights
from danlu.recipes.trials.settings import Search
from danlu.settings import Settings
from danlu.tasks.settings import TaskData
from danlu.tasks.writing import WritingSettings
from danlu.text.training import TokenizerSettings
from danlu.train.answers import AnswerSettings
from danlu.train.objectives import TokenSettings
from danlu.train.preference import PreferenceSettings
from danlu.train.settings import TrainSettings


class TokenizerChoice(TokenizerSettings):
    """A tokenizer that stands (`path`: a folder or a file), or how a fresh one is trained on the data."""

    path: Path | None = None


class SampleSettings(Settings):
    """What the model is asked after each evaluation, to be read in the report. Without prompts, the held-out text
    gives them: its first words to continue, or a sentence with masks to fill."""

    count: int = Field(2, ge=0, le=20)
    prompts: tuple[str, ...] = ()
    tokens: int = Field(60, ge=1, le=2048)
    temperature: float = Field(0.8, ge=0)


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


class TaskChoice(Settings):
    """One of several tasks: what it is, its rows, and how much its loss counts."""

    task: str | None = None
    data: TaskData = TaskData()
    weight: float = Field(1.0, gt=0)


class Finetune(Common):
    """`danlu finetune START DATA`: from a model and examples of answers to a model that gives them.

    start, size, model, tokenizer: as of pretraining; a fresh model learns from nothing. task: a name; inferred from
    the columns where not given. writing, prefer: of tasks whose answer is a text, and of preferences. adapt: what
    trains, `lora` or {kind: lora, rank: 4}; everything where not given.
    embeddings: whether the vectors of tokens train as well; where not given, those of a fresh model do. tasks: several
    tasks by name, instead of one; they take turns as often as their batches ** `sampling` say (0: equally often).
    balance: their losses count as the weights say, or also less the larger they stay. keep: heads that the model has
    already stay beside the new ones. search: how many sets of settings to try, of which the
    best becomes the run. seeds: so many runs that differ in nothing else.
    """

    verb: str = Field("finetune", pattern="^finetune$")
    start: str
    size: str | None = None
    task: str | None = None
    data: TaskData = TaskData()
    tokenizer: TokenizerChoice = TokenizerChoice()
    model: dict[str, Any] = Field(default_factory=dict)
    loss: AnswerSettings = AnswerSettings()
    writing: WritingSettings = WritingSettings()
    prefer: PreferenceSettings = PreferenceSettings()
    adapt: Adapt | None = None
    embeddings: bool | None = None
    tasks: dict[Annotated[str, Field(pattern=r"^[A-Za-z]\w*$")], TaskChoice] = Field(default_factory=dict)
    sampling: float = Field(1.0, ge=0)
    balance: Literal["fixed", "uncertainty"] = "fixed"
    keep: bool = False
    train: TrainSettings = TrainSettings()
    search: Search = None
    seeds: int = Field(1, ge=1)
