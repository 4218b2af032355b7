"""The same run with several seeds: how much of a result is luck."""

import statistics

from danlu.evaluate.optimism import over_runs
from danlu.evaluate.predictions import FILE, cases, check_same_rows, read_predictions
from danlu.files import replace_json
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.finetuning.trials.job import Job, promote
from danlu.recipes.runs.folder import Run, add_results
from danlu.settings import Data
from danlu.tasks.metrics import METRICS, Metric
from danlu.voice import Voice

RECORD = "seeds.json"


def several(job: Job, settings: Finetune, voice: Voice) -> None:
    """A run for each seed, those of them that are not finished. settings: those of each. The best on the validation
    part becomes the run, but for its report and card."""
    runs = []
    for number in range(job.settings.seeds):
        seed = settings.seed + number
        run = Run(job.run.path / f"seed-{seed}")
        told = settings.model_copy(update={"seed": seed, "seeds": 1, "search": None, "output": str(run), "lang": None})
        if run.state == "empty":
            run.write_config(told)
        if run.state != "finished":
            job.carry_out(told, run, job.made, Voice(voice.language, quiet=True), None)
        runs.append(run)
        _say(voice, run, seed, job.made.task.metrics[0])
    found = gathered(runs)
    replace_json(job.run.path / RECORD, found)
    promote(runs[_best(found["rows"], METRICS[job.made.task.metrics[0]])].path, job.run)
    add_results(job.run.path, found["rows"])


def gathered(runs: list[Run]) -> Data:
    """For each measure of each part: mean, standard deviation, worst and best over the runs, and an interval."""
    results = [{(row["name"], row["data"]): row for row in run.results} for run in runs]
    shared = [key for key in results[0] if all(key in each for each in results) and key[0] in METRICS]
    last = "test" if any(data == "test" for _, data in shared) else "validation"
    predictions = [read_predictions(run.path / FILE) for run in runs]
    for each in predictions[1:]:
        check_same_rows(predictions[0], each)
    rows: list[Data] = []
    for name, data in shared:
        metric, values = METRICS[name], [each[name, data]["value"] for each in results]
        order = sorted(values, reverse=metric.larger_is_better)
        row: Data = {"name": name, "data": data, "unit": "rows", "count": results[0][name, data].get("count")}
        row |= {"value": statistics.fmean(values), "std": statistics.stdev(values), "values": values}
        row |= {"best": order[0], "worst": order[-1], "seeds": len(runs)}
        if data == last:
            row |= over_runs([metric.of(cases(each)) for each in predictions]).plain()
        rows.append(row)
    return {"runs": [run.path.name for run in runs], "rows": rows}


def _best(rows: list[Data], metric: Metric) -> int:
    """Chosen on the validation part, where there is one."""
    own = [row for row in rows if row["name"] == metric.name]
    row = next((row for row in own if row["data"] == "validation"), own[0])
    return int(row["values"].index(row["best"]))


def _say(voice: Voice, run: Run, seed: int, name: str) -> None:
    values = {row["data"]: METRICS[name].write(row["value"]) for row in run.results if row["name"] == name}
    told = ", ".join(f"{data} {value}" for data, value in values.items())
    voice.say(f"seed {seed}: {name} {told}", f"种子 {seed}：{METRICS[name].zh} {told}")
