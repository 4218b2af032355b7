"""A search over settings: trials beside each other in one folder, the best becomes the run.

What was tried stands in search.json, and what comes next is a function of it; a search that was interrupted goes on
with the very trial it was at. Trials are judged on the validation part. The test part is looked at once, at the end.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError, raise_all
from danlu.evaluate.judge import compared
from danlu.evaluate.optimism import chosen
from danlu.evaluate.predictions import FILE, cases, read_predictions
from danlu.files import remove_folder, replace_json
from danlu.generate.exercise import learnt
from danlu.recipes.evaluating.judging import Judged, Judging, judge, keep, plain_comparison
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.finetuning.trials.job import Job, promote
from danlu.recipes.finetuning.trials.settings import Range, SearchSettings
from danlu.recipes.finetuning.trials.space import Chooser, Space, Trial, usual
from danlu.recipes.runs.call import nested
from danlu.recipes.runs.folder import Run, add_comparisons
from danlu.recipes.starting.start import find_device
from danlu.settings import Data, build
from danlu.tasks.metrics import METRICS, Metric
from danlu.voice import Voice

RECORD = "search.json"


class Pruned(Exception):
    """A trial that is given up."""


def search(job: Job, voice: Voice) -> Finetune:
    """All trials that are left to do; the best one becomes the run, but for its report and card. Gives its settings.

    E1830, E1831; E1101, E1102 where the space names what is no setting; the last error where every trial fails.
    """
    settings, run = job.settings, job.run
    assert settings.search is not None
    if not job.made.validation:
        raise DanluError("E1831", where=run.path)
    metric, base = METRICS[job.made.task.metrics[0]], settings.model_dump(mode="json")
    space = dict(settings.search.space or usual(base))
    check(settings, space)
    rows = read(run.path)
    chooser = Chooser(space, metric.larger_is_better, settings.seed, settings.search.trials)
    for number in range(len(rows), settings.search.trials):
        trial = chooser.next(number, rows, {name: at(base, name) for name in space})
        row = _tried(job, number, trial, metric, settings.search)
        rows.append(row)
        write(run.path, metric, space, rows)
        _say(voice, row, rows, metric, settings.search.trials)
        _tidy(run.path, rows, metric)
    best = best_of(rows, metric)
    if best is None:
        raise DanluError("E1833", where=run.path, found=rows[-1].get("note"))
    found = trial_settings(settings, best["params"], folder_of(run.path, best["number"]))
    _finish(job, rows, best, metric, space, voice)
    return found


def check(settings: Finetune, space: Space) -> None:
    """Every setting of the space takes every end of its range. E1101, E1102."""
    problems = []
    for name, side in space.items():
        for value in (side.low, side.high) if isinstance(side, Range) else side:
            try:
                trial_settings(settings, {name: value}, Path())
            except DanluError as error:
                problems.append(error)
                break
    raise_all(problems)


def trial_settings(settings: Finetune, params: Mapping[str, Any], folder: Path) -> Finetune:
    """The settings of one trial: those of the search with some others."""
    base = settings.model_dump(mode="json")
    own: Data = {"search": None, "seeds": 1, "output": str(folder), "lang": None}
    return build(Finetune, base, nested(params), own, where="search.space")


def _tried(job: Job, number: int, trial: Trial, metric: Metric, how: SearchSettings) -> Data:
    """Do one trial, or finish it where it was interrupted; what came of it."""
    folder = folder_of(job.run.path, number)
    run, settings = Run(folder), trial_settings(job.settings, trial.params, folder)
    if run.state == "empty":
        run.write_config(settings)

    def watch(values: Mapping[str, float]) -> None:
        for row in run.history.evaluations[trial.looks :]:  # made before an interruption
            trial.report(_seen(row["evaluation"], metric))
        if trial.report(_seen(values, metric)) and how.prune and number:
            raise Pruned

    row: Data = {"number": number, "params": trial.params, "state": "done", "value": None}
    began = time.monotonic()
    try:
        if run.state != "finished":
            job.carry_out(settings, run, replace(job.made, test=[]), Voice(quiet=True), watch)
        measured = next(each for each in run.results if (each["name"], each["data"]) == (metric.name, "validation"))
        row |= {name: measured[name] for name in ("value", "low", "high") if name in measured}
    except Pruned:
        row["state"] = "pruned"
    except DanluError as error:
        row |= {"state": "failed", "note": error.render("en").splitlines()[0]}
    row["looks"] = [_seen(each["evaluation"], metric) for each in run.history.evaluations]
    return row | {"seconds": round(time.monotonic() - began, 1)}


def _seen(values: Mapping[str, float], metric: Metric) -> float:
    """An evaluation in the metric's direction; of texts, which are not written on the way, the loss stands for it."""
    if metric.name in values:
        return values[metric.name]
    return -values["loss"] if metric.larger_is_better else values["loss"]


def _tidy(folder: Path, rows: list[Data], metric: Metric) -> None:
    """Keep the models of trial 0 and of the best; checkpoints of none."""
    best = best_of(rows, metric)
    kept = {0, best["number"] if best else 0}
    for row in rows:
        place = folder_of(folder, row["number"])
        for part in ("checkpoints", *(() if row["number"] in kept else ("model",))):
            if (place / part).is_dir():
                remove_folder(place / part)


def _finish(job: Job, rows: list[Data], best: Data, metric: Metric, space: Space, voice: Voice) -> None:
    """The best trial becomes the run: measured on the test part, beside what would have been without a search."""
    run, made = job.run, job.made
    done = [row for row in rows if row["state"] == "done"]
    kept = [read_predictions(folder_of(run.path, row["number"]) / FILE) for row in done]
    expected = chosen([metric.of(cases(each)) for each in kept], metric.larger_is_better, seed=job.settings.seed)
    promote(folder_of(run.path, best["number"]), run)
    more: Data = {"best": best["number"], "expected": expected.plain()}
    if made.test:
        first, second = (_judged(job, number, voice) for number in (0, best["number"]))
        keep(run.path, second, own=True)
        if best["number"]:
            metrics = [METRICS[row["name"]] for row in second.results]
            found = compared(metrics, first.predictions, second.predictions, job.settings.seed)
            against = voice.pick("trial 0, nothing changed", "第 0 次尝试（未作改动）")
            add_comparisons(run.path, [{"name": name, "data": "test", "against": against} | plain_comparison(each)
                                       for name, each in found.items()])  # fmt: skip
    write(run.path, metric, space, rows, more)


def _judged(job: Job, number: int, voice: Voice) -> Judged:
    settings = job.settings
    checkpoint = Checkpoint.load(folder_of(job.run.path, number), device=find_device(settings.device))
    how = Judging(precision=settings.train.precision, seed=settings.seed)
    return judge(
        checkpoint, learnt(checkpoint, length=settings.data.length), job.made.test, "test", voice.silenced(), how
    )


def best_of(rows: list[Data], metric: Metric) -> Data | None:
    done = [row for row in rows if row["state"] == "done"]
    sign = 1 if metric.larger_is_better else -1
    return max(done, key=lambda row: (sign * row["value"], -row["number"])) if done else None


def folder_of(folder: Path, number: int) -> Path:
    return folder / "trials" / f"trial-{number:03}"


def read(folder: Path) -> list[Data]:
    """The trials so far."""
    try:
        rows = json.loads((folder / RECORD).read_text(encoding="utf8"))["trials"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def write(folder: Path, metric: Metric, space: Space, rows: list[Data], more: Data | None = None) -> None:
    sides = {name: list(side) if isinstance(side, tuple) else side.model_dump() for name, side in space.items()}
    best = best_of(rows, metric)
    found: Data = {"metric": metric.name, "best": best["number"] if best else None, "space": sides, "trials": rows}
    replace_json(folder / RECORD, found | (more or {}))


def at(settings: Data, name: str) -> Any:
    """A setting by its dotted name."""
    found: Any = settings
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _say(voice: Voice, row: Data, rows: list[Data], metric: Metric, trials: int) -> None:
    told = ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in row["params"].items())
    best = best_of(rows, metric)
    top = f"{metric.write(best['value'])} ({best['number']})" if best else "—"
    en, zh = {"pruned": ("given up", "提前放弃"), "failed": ("failed", "失败")}.get(row["state"], ("", ""))
    came = metric.write(row["value"]) if row["value"] is not None else ""
    voice.say(
        f"trial {row['number']} of {trials}: {told}: {came or en}; best so far {top}",
        f"第 {row['number']} 次尝试（共 {trials} 次）：{told}：{came or zh}；目前最好 {top}",
    )
