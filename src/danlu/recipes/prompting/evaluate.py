"""`danlu evaluate` of a prompt: a run of `danlu prompt`, or any model with `prompt=FILE`, on labelled rows."""

from pathlib import Path

from pydantic import Field

from danlu.errors import DanluError
from danlu.recipes.evaluating.judging import rows_of, say_results
from danlu.recipes.prompting.measuring import judged
from danlu.recipes.prompting.opening import holds_prompt, open_prompt
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import Run, add_results
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.tasks.settings import TaskData
from danlu.tasks.understanding import CLASSIFY
from danlu.train.settings import Precision


class EvaluatePrompt(Common):
    """prompt: the file of one, or a run that has one. limit: at most so many rows."""

    prompt: Path | None = None
    data: TaskData = TaskData()
    precision: Precision = "auto"
    limit: int | None = Field(None, ge=1)


def evaluate(call: Call) -> Answer:
    """Results of a run are written into its evaluation.json, report and card."""
    settings = call.build(EvaluatePrompt)
    start, path = call.take("START", "DATA", optional=1)
    paths = (path,) if path else settings.data.paths
    if not paths or not start:
        raise DanluError("E1005", word="DATA", possible=["START", "DATA"])
    if call.dry_run:
        return call.rehearse(settings)
    prompter = open_prompt(start, settings.prompt, settings.device, settings.precision)
    data = settings.data.model_copy(update={"paths": tuple(paths)})
    rows, _, _ = rows_of(CLASSIFY, data, limit=settings.limit)
    name = ", ".join(Path(each).name for each in paths)
    results, where = judged(list(prompter.predict(rows, call.voice)), name)
    say_results(results, call.voice)
    metrics = {row["name"]: row for row in results}
    if settings.prompt or not holds_prompt(start) or Run(Path(start)).state != "finished":
        return Answer(None, metrics)
    run, language = Path(start), call.voice.language
    written = add_results(run, results, {"answers": {name: where}})
    return Answer(run, metrics, (written, write_report(run, language), write_card(run, language)))
