"""What a run left on disk, read for a report: whatever is there, and nothing that is not."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from danlu.errors import DanluError
from danlu.settings import Data, read_yaml

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Metrics:
    """metrics.jsonl: a line a step, a line an evaluation, a line an event, each in order of steps."""

    steps: Sequence[Row] = ()
    evaluations: Sequence[Row] = ()
    events: Sequence[Row] = ()
    broken: int = 0  # lines that are no JSON, as a killed run may leave one

    def curve(self, name: str) -> tuple[list[float], list[float]]:
        """(steps, values) of a number logged while training; its gaps left out."""
        return _curve((row["step"], row.get(name)) for row in self.steps)

    def validation(self, name: str) -> tuple[list[float], list[float]]:
        """(steps, values) of a number measured by evaluations."""
        return _curve((row["step"], row["evaluation"].get(name)) for row in self.evaluations)

    def names(self) -> list[str]:
        """Every number of the training lines, in order of appearance."""
        return list({name: None for row in self.steps for name in row if is_number(row[name])})


@dataclass(frozen=True)
class Record:
    """A run folder as a report sees it."""

    folder: Path
    config: Data = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    ledger: Data = field(default_factory=dict)
    evaluation: Data = field(default_factory=dict)
    search: Data = field(default_factory=dict)  # what a search tried
    seeds: Data = field(default_factory=dict)  # runs that differ in their seed
    compression: Data = field(default_factory=dict)  # what compressing came to, step by step
    prompts: Data = field(default_factory=dict)  # what `danlu prompt` made, ranked and chose
    ladder: Data = field(default_factory=dict)  # rungs from a prompt by hand to a model trained
    samples: Sequence[Row] = ()
    journal: Sequence[Row] = ()  # what happened to the process
    danlu: Data = field(default_factory=dict)  # model/danlu.json: family, changes, lineage, hashes
    model: Data = field(default_factory=dict)  # model/config.json, as published

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def section(self, name: str) -> Data:
        """A group of settings, empty where it is absent."""
        group = self.config.get(name)
        return group if isinstance(group, dict) else {}


def read_record(folder: Path) -> Record:
    """Read a run folder. E1801 where neither config.yaml nor metrics.jsonl is there; other absent files are empty."""
    if not any((folder / name).is_file() for name in ("config.yaml", "metrics.jsonl")):
        raise DanluError("E1801", where=folder)
    config = folder / "config.yaml"
    return Record(
        folder=folder,
        config=read_yaml(config) if config.is_file() else {},
        metrics=read_metrics(folder / "metrics.jsonl"),
        ledger=_mapping(folder / "ledger.json"),
        evaluation=_mapping(folder / "evaluation.json"),
        search=_mapping(folder / "search.json"),
        seeds=_mapping(folder / "seeds.json"),
        compression=_mapping(folder / "compression.json"),
        prompts=_mapping(folder / "prompts.json"),
        ladder=_mapping(folder / "ladder.json"),
        samples=_list(folder / "samples.json"),
        journal=[row for row in _rows(folder / "journal.jsonl") if row and "event" in row],
        danlu=_mapping(folder / "model" / "danlu.json"),
        model=_mapping(folder / "model" / "config.json"),
    )


def read_metrics(path: Path) -> Metrics:
    """Streamed; a step that was done again after a resume or a rollback counts as it was done last."""
    steps: dict[int, Row] = {}
    evaluations: dict[int, Row] = {}
    events: list[Row] = []
    broken = 0
    for row in _rows(path):
        step = row.get("step") if row else None
        if row is None or not is_number(step):
            broken += 1
        elif "event" in row:
            events.append(row)
        elif isinstance(row.get("evaluation"), dict):
            evaluations[int(step)] = row
        else:
            steps[int(step)] = row
    return Metrics([steps[at] for at in sorted(steps)], [evaluations[at] for at in sorted(evaluations)], events, broken)


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _curve(pairs: Iterator[tuple[Any, Any]]) -> tuple[list[float], list[float]]:
    full = [(float(step), float(value)) for step, value in pairs if is_number(value)]
    return [step for step, _ in full], [value for _, value in full]


def _rows(path: Path) -> Iterator[Row | None]:
    if not path.is_file():
        return
    with path.open(encoding="utf8", errors="replace") as file:
        for line in file:
            if line.strip():
                row = _parsed(line)
                yield row if isinstance(row, dict) else None


def _mapping(path: Path) -> Data:
    data = _parsed(path.read_text(encoding="utf8", errors="replace")) if path.is_file() else None
    return data if isinstance(data, dict) else {}


def _list(path: Path) -> list[Row]:
    data = _parsed(path.read_text(encoding="utf8", errors="replace")) if path.is_file() else None
    return [row for row in data if isinstance(row, dict)] if isinstance(data, list) else []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def perplexity(loss: float) -> float:
    return math.exp(min(loss, 700.0))
