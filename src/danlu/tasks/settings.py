"""What a task reads, and how."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from danlu.data.sources import Paths
from danlu.settings import Settings

TaskFormat = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "conll", "lines", "folders"]
Share = Annotated[float, Field(ge=0, lt=1)]


class TaskData(Settings):
    """`paths`: files, or folders; files named train, dev and test are taken for what they say. `validation`, `test`:
    files kept apart; where there are none, the shares `held_out` and `tested` of the rows (auto: a tenth each, at most
    2,000 rows; no test of fewer than 500 rows). `columns`: our name of a column (text, label ...) -> the file's.
    `broken`: the share of rows that may be unusable. `duplicates`: rows whose text is among those to measure by are
    trained on all the same, or dropped. `length`: tokens in a row at most; the model's context, and at most 512, where
    it is not given. `tokens`: in a batch at most, padding included; then batches of long rows have fewer.
    """

    paths: Paths = ()
    validation: Paths = ()
    test: Paths = ()
    held_out: Share | Literal["auto"] = "auto"
    tested: Share | Literal["auto"] = "auto"
    format: TaskFormat = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    encoding: str = "auto"
    broken: float = Field(0.05, ge=0, le=1)
    duplicates: Literal["keep", "drop"] = "keep"
    length: int | None = Field(None, ge=4)
    tokens: int | None = Field(None, ge=16)
    cache: Path = Path("~/.cache/danlu")
