"""What `danlu finetune` can be told."""

from typing import Annotated, Any

from pydantic import Field

from danlu.adapt import Adapt
from danlu.recipes.finetuning.trials.settings import Search
from danlu.recipes.runs.call import Common
from danlu.recipes.starting.start import TokenizerChoice
from danlu.settings import Settings
from danlu.tasks.settings import TaskData
from danlu.tasks.writing import WritingSettings
from danlu.train.answers import AnswerSettings
from danlu.train.balance import BalanceName
from danlu.train.preference import PreferenceSettings
from danlu.train.settings import TrainSettings


class TaskChoice(Settings):
    """One of several tasks: what it is, its rows, how much its loss counts; of one whose answer is a text, how it puts
    things, where not as the others do."""

    task: str | None = None
    data: TaskData = TaskData()
    weight: float = Field(1.0, gt=0)
    writing: WritingSettings | None = None


class Finetune(Common):
    """`danlu finetune START DATA`: from a model and examples of answers to a model that gives them.

    start, size, model, tokenizer: as of pretraining; a fresh model learns from nothing. task: a name; inferred from
    the columns where not given. writing, prefer: of tasks whose answer is a text, and of preferences. adapt: what
    trains, `lora` or {kind: lora, rank: 4}; everything where not given.
    embeddings: whether the vectors of tokens train as well; where not given, those of a fresh model do. tasks: several
    tasks by name, instead of one; they take turns as often as their batches ** `sampling` say (0: equally often).
    balance: their losses count as the weights say (fixed), less the larger they stay (uncertainty), more the slower
    they fall (pace); or their gradients are made equally long (norms), or freed of what points against each other
    (surgery), for which each step takes a batch of every task. keep: heads that the model has
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
    balance: BalanceName = "fixed"
    keep: bool = False
    train: TrainSettings = TrainSettings()
    search: Search = None
    seeds: int = Field(1, ge=1)
