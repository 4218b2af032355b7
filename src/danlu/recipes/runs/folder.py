"""Run folders: what they hold, how far they have come, and what a new one is called."""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from danlu.errors import DanluError
from danlu.files import nearest_there, remove_folder, replace_file, replace_json
from danlu.recipes.runs.call import Common
from danlu.recipes.runs.machine import size_in_words
from danlu.report.record import Metrics, read_metrics
from danlu.settings import Data, merge, read_yaml, to_yaml
from danlu.train.resume import Checkpoints, verify
from danlu.train.settings import TrainSettings
from danlu.voice import Voice

CONFIG, MODEL, CARD, PROMPT = "config.yaml", "model", "README.md", "prompt.json"
BEFORE = {
    CONFIG,
    "checkpoints",
    "ledger.json",
    "journal.jsonl",
    "metrics.jsonl",
    "looks.jsonl",
    "lock",
}  # what stands before step 1
State = Literal["empty", "interrupted", "finished"]


@dataclass(frozen=True)
class Run:
    """A run folder; it stands wherever a path is wanted, so it can be handed on as a START.

    number: the how manyth of its name, where Danlu chose that.
    """

    path: Path
    number: int = field(default=1, compare=False)

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def model(self) -> Path:
        return self.path / MODEL

    @property
    def tokenizer(self) -> Path:
        """Where a fresh tokenizer is kept until the model is written, so that an interrupted run goes on with it."""
        return self.path / "checkpoints" / "tokenizer"

    @property
    def config(self) -> Data:
        """Every setting, resolved. E1103 where the file is damaged."""
        return read_yaml(self.path / CONFIG)

    @property
    def verb(self) -> str:
        """What began this run, and goes on with it. E1622 where there is none."""
        if not is_run(self.path):
            raise DanluError("E1622", where=self.path)
        return str(self.config.get("verb", "pretrain"))

    @property
    def state(self) -> State:
        """A run is finished once its model, or prompt, and last of all its card are written."""
        if not is_run(self.path):
            return "empty"
        made = self.model.is_dir() or (self.path / PROMPT).is_file()
        return "finished" if made and (self.path / CARD).is_file() else "interrupted"

    @property
    def history(self) -> Metrics:
        """Every logged step, evaluation and event."""
        return read_metrics(self.path / "metrics.jsonl")

    @property
    def metrics(self) -> dict[str, Any]:
        """The last step's numbers, the best evaluation's, and what was measured at the end."""
        history = self.history
        found: dict[str, Any] = {}
        if history.steps:
            last = history.steps[-1]
            found = {name: last[name] for name in ("step", "loss", "seconds", "tokens_per_second") if name in last}
        losses = history.validation("loss")[1]
        if losses:
            found["validation_loss"] = min(losses)
        return found | {row["name"]: row["value"] for row in read_results(self.path)}

    @property
    def results(self) -> list[Data]:
        """What was measured: rows of evaluation.json."""
        return read_results(self.path)

    def write_config(self, settings: Common) -> None:
        """config.yaml, of a settings class that names its verb: `danlu <verb> <folder>/config.yaml` repeats the run."""
        self.path.mkdir(parents=True, exist_ok=True)
        data = settings.model_dump(mode="json")
        verb = data.pop("verb")
        head = f"# every setting of this run; repeat it with: danlu {verb} {self.path / CONFIG}\n"
        replace_file(self.path / CONFIG, head + to_yaml({"verb": verb} | data))

    def abandon(self) -> None:
        """Remove a run that ended before its first step and holds nothing but what was written for it."""
        found = {path.name for path in self.path.iterdir()}
        begun = list(self.path.glob("checkpoints/step-*")) or self.history.steps
        if not begun and found <= BEFORE:
            remove_folder(self.path)

    def files(self) -> tuple[Path, ...]:
        """What the run has written, for people and scripts."""
        names = (
            CONFIG,
            MODEL,
            PROMPT,
            "metrics.jsonl",
            "ledger.json",
            "evaluation.json",
            "samples.json",
            "report.html",
            CARD,
        )
        return tuple(self.path / name for name in names if (self.path / name).exists())


def tidy(run: Run, settings: TrainSettings, voice: Voice) -> None:
    """Remove the checkpoints that a finished run no longer needs, once those it keeps have been found whole."""
    paths = Checkpoints(run.path / "checkpoints", keep=settings.keep, every=1, back=1).paths()
    freed = 0
    with suppress(OSError, DanluError):  # what cannot be removed or is damaged stays: nothing is lost by it
        for path in paths[: settings.keep_finished]:
            verify(path)
        for path in paths[settings.keep_finished :]:
            size = sum(file.stat().st_size for file in path.iterdir())
            remove_folder(path)
            freed += size
    if freed:
        voice.say(
            f"older checkpoints removed: {size_in_words(freed)} of disk are free again",
            f"已删除较早的检查点，释放磁盘 {size_in_words(freed)}",
        )


def read_results(folder: Path) -> list[Data]:
    """The rows of evaluation.json: name, value, low, high, count, data."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf8"))["results"]
    except (ValueError, KeyError, TypeError):
        return []
    return [row for row in rows if isinstance(row, dict) and {"name", "value"} <= row.keys()]


def add_results(folder: Path, rows: list[Data], more: Data | None = None) -> Path:
    """Put measured rows into evaluation.json; a measure taken again on the same data replaces the older one."""
    fresh = {(row["name"], row.get("data")) for row in rows}
    kept = [row for row in read_results(folder) if (row["name"], row.get("data")) not in fresh]
    replace_json(
        folder / "evaluation.json", merge(_mapping(folder / "evaluation.json"), more or {}, {"results": kept + rows})
    )
    return folder / "evaluation.json"


def add_comparisons(folder: Path, rows: list[Data]) -> None:
    """Put comparisons with another run into evaluation.json; a newer one replaces the older."""
    found = _mapping(folder / "evaluation.json")
    same = {(row["name"], row["data"], row["against"]) for row in rows}
    older = found.get("comparisons") or []
    kept = [row for row in older if (row.get("name"), row.get("data"), row.get("against")) not in same]
    replace_json(folder / "evaluation.json", found | {"comparisons": kept + rows})


def note_proof(folder: Path, name: str, said: str) -> None:
    """Write a proof (resume, parity) into the model's danlu.json, where the card finds it."""
    path = folder / MODEL / "danlu.json"
    if path.is_file():
        replace_json(path, merge(_mapping(path), {"proofs": {name: said}}))


def is_run(path: Path) -> bool:
    return os.path.isfile(path / CONFIG)


def new_run(output: str | None, start: str, data: str) -> Run:
    """The folder asked for, or the first free runs/<start>-<data>. E1620 where a finished run stands in the way."""
    if output:
        run = Run(Path(output))
        if run.state == "finished":
            raise DanluError("E1620", where=run.path, name=run.path)
        return run
    stem = f"{slug(start)}-{slug(data)}" if data else slug(start)
    return next_free(Path("runs") / stem)


def next_free(path: Path) -> Run:
    """`path`, or `path`-2, -3, … : the first that holds no run."""
    run = Run(path)
    while run.path.exists() and any(run.path.iterdir() if run.path.is_dir() else [run.path]):
        run = Run(path.with_name(f"{path.name}-{run.number + 1}"), run.number + 1)
    return run


def slug(text: str) -> str:
    """A word for a folder's name: runs/x/model -> x, texts/My book.txt.gz -> my-book."""
    parts = [part for part in Path(text).parts if part not in ("/", ".", "..", MODEL)]
    name = re.sub(r"\.(gz|txt|jsonl|json|csv|tsv|parquet|md|yaml|yml)", "", (parts or [""])[-1], flags=re.IGNORECASE)
    return re.sub(r"[^\w]+", "-", name).strip("-_").lower()[:40] or "run"


LONGEST_NAME = 255  # bytes, of a file in nearly every file system


def folder_problems(folder: Path) -> list[DanluError]:
    """E1623 where nothing can be written, or where no folder can have such a name."""
    place = nearest_there(folder)
    longest = max((len(part.encode(errors="surrogatepass")) for part in folder.parts), default=0)
    if longest > LONGEST_NAME or not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [DanluError("E1623", where=folder, found=place)]
    return []


def _mapping(path: Path) -> Data:
    try:
        data = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    except ValueError:
        data = {}
    return data if isinstance(data, dict) else {}
