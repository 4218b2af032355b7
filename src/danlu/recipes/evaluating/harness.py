"""`danlu evaluate START harness=TASKS`: what EleutherAI's lm-evaluation-harness asks."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from danlu.evaluate.harness import run_tasks
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import Run, add_results, is_run
from danlu.recipes.starting.start import load_engine
from danlu.settings import Settings


def _listed(value: Any) -> Any:
    return [each for each in value.replace(",", " ").split() if each] if isinstance(value, str) else value


def _tasks(value: Any) -> Any:
    """`harness=TASKS` names the tasks alone."""
    return {"tasks": value} if isinstance(value, (str, list, tuple)) else value


class HarnessSettings(Settings):
    """tasks: names, as the harness knows them. include: a folder of tasks of one's own. shots: examples before each
    question; as the task has it where not given."""

    tasks: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(min_length=1)
    include: str | None = None
    shots: int | None = Field(None, ge=0)


class EvaluateHarness(Common):
    """limit: at most so many questions of each task."""

    harness: Annotated[HarnessSettings, BeforeValidator(_tasks)]
    limit: int | None = Field(None, ge=1)


def evaluate_harness(call: Call) -> Answer:
    """Each task's measures with their intervals; those of a run are kept in its evaluation.json under `harness`."""
    settings = call.build(EvaluateHarness)
    (start,) = call.take("START")
    assert start
    if call.dry_run:
        return call.rehearse(settings)
    asked = settings.harness
    engine = load_engine(start, settings.device)
    found = run_tasks(engine, asked.tasks, asked.include, asked.shots, settings.limit)
    for task, metrics in found.items():
        for name, each in metrics.items():
            between = f"  [{each['low']:.4f}, {each['high']:.4f}]" if each["low"] <= each["high"] else ""
            call.voice.fact(f"{task} {name}", f"{each['value']:.4f}{between}")
    place = Path(start)
    run = place if is_run(place) and Run(place).state == "finished" else None
    return Answer(run, found, (add_results(run, [], {"harness": found}),) if run else ())
