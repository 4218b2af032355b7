"""What `danlu prompt` can be told."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from danlu.prompt.rules.brief import Kind
from danlu.prompt.rules.ranking import By
from danlu.prompt.search.carrying import Searched, SearchSettings
from danlu.prompt.spec import Calibration
from danlu.recipes.runs.call import Common
from danlu.settings import Data, Settings
from danlu.tasks.settings import TaskData
from danlu.train.settings import Precision


def split(value: Any) -> Any:
    """`search=words,edits` means both."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Rules(Settings):
    """kind: of task, found out from the labels where not given. language: of the prompts, that of the texts where not
    given. rank: how prompts are ranked without labels, on `rows` rows. keep: how many of the best are looked at with
    labels."""

    kind: Kind | None = None
    language: Literal["en", "zh"] | None = None
    rank: By = "agreement"
    rows: int = Field(100, ge=2)
    keep: int = Field(8, ge=1)


class Prompt(Common):
    """`danlu prompt START DATA`: from a frozen model and rows to a prompt by which it classifies.

    labels: what classes mean, where their names do not say (labels.0=negative). template: a prompt of your own in one
    line, or prompt: a file of one; it is kept unless another is expected to be better. rules: how prompts are made.
    shots: examples a class that the prompt may show; 0: none. calibrate: the kinds of calibration to try. search: how
    better prompts are looked for, and what that may cost. limit: rows to choose by, at most. variations: rows on which
    seeds × templates × orders are compared; 0: not at all.
    """

    defaults: ClassVar[Data] = {}  # of settings that were left open, where they are not the class's own
    verb: str = Field("prompt", pattern="^prompt$")
    start: str
    task: Literal["classify"] | None = None
    data: TaskData = TaskData()
    labels: dict[str, str] = Field(default_factory=dict)
    template: str | None = None
    prompt: Path | None = None
    rules: Rules = Rules()
    shots: int = Field(0, ge=0, le=1024)
    calibrate: Annotated[tuple[Calibration, ...], BeforeValidator(split)] = ("none", "contextual", "pmi")
    search: Searched = SearchSettings()
    limit: int = Field(300, ge=2)
    variations: int = Field(100, ge=0)
    precision: Precision = "auto"
