"""predictions.jsonl: what a run answered to each row of a file, beside the right answer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from danlu.errors import DanluError
from danlu.files import replace_file
from danlu.tasks.metrics import Cases

FILE = "predictions.jsonl"


@dataclass(frozen=True)
class Prediction:
    """row: its number among the rows used. file, line: where it stood. key: a fingerprint of its text, by which two
    runs are known to have answered the same. chance: the model's probability of its own answer. loss: nats the right
    answer cost, over `targets` targets; None where the model knows no such label. length: tokens; cut: those for which
    there was no room."""

    row: int
    file: str
    line: int
    key: str
    text: str
    prediction: Any
    reference: Any
    chance: float | None = None
    loss: float | None = None
    targets: int = 1
    length: int = 0
    cut: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        return bool(self.prediction == self.reference)


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> Path:
    """One JSON object a line."""
    lines = (json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in predictions)
    replace_file(path, "".join(lines))
    return path


def read_predictions(path: Path) -> list[Prediction]:
    """E1824 where there are none, or the file is none of ours."""
    try:
        with path.open(encoding="utf8") as file:
            return [Prediction(**json.loads(line)) for line in file if line.strip()]
    except (OSError, ValueError, TypeError) as error:
        raise DanluError("E1824", where=path, found=None if isinstance(error, OSError) else error) from error


def cases(predictions: Sequence[Prediction]) -> Cases:
    """Predictions as metrics take them. Rows without a loss are not in the losses."""
    losses = [each for each in predictions if each.loss is not None]
    whole = len(losses) == len(predictions)
    return Cases(
        [each.prediction for each in predictions],
        [each.reference for each in predictions],
        [each.chance if each.chance is not None else 0.0 for each in predictions],
        [each.loss or 0.0 for each in predictions] if whole else [],
        [each.targets for each in predictions] if whole else [],
    )


def check_same_rows(first: Sequence[Prediction], second: Sequence[Prediction]) -> None:
    """E1821 where two runs answered different questions."""
    if len(first) != len(second):
        raise DanluError("E1821", found=f"{len(first)} ≠ {len(second)}")
    for ours, theirs in zip(first, second, strict=True):
        if (ours.key, ours.reference) != (theirs.key, theirs.reference):
            raise DanluError("E1821", where=f"{ours.file}:{ours.line}", found=f"{theirs.file}:{theirs.line}")
