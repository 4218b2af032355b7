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
    files kept apart; where there are none, the shares `held_out` and `tested` of the rows (auto: a tenth of them each,
    at most 2,000; nothing for the test of fewer than 500 rows). `columns`: our name of a column (text, text_b, label ...) -> the
    file's. `broken`: the share of broken rows that is passed over and noted. `length`: tokens in a row at most; the
    model's context where it is not given.
    """

    paths: Paths = ()
    validation: Paths = ()
    test: Paths = ()
    held_out: Share | Literal["auto"] = "auto"
    tested: Share | Literal["auto"] = "auto"
    format: TaskFormat = "auto"
    columns: dict[str, str] = Field(default_factory=dict)
    encoding: str = "auto"
    broken: float = Field(0.01, ge=0, le=1)
    length: int | None = Field(None, ge=4)
    cache: Path = Path("~/.cache/danlu")
