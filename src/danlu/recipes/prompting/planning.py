"""Before a model is loaded: what a call about prompts means, every setting resolved, every problem found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from danlu.errors import DanluError
from danlu.files import file_hash
from danlu.prompt.rules.brief import Brief, brief_of
from danlu.recipes.preparing.material import Given, Material, look, material
from danlu.recipes.prompting.stage import Prompt
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run, folder_problems, new_run
from danlu.recipes.runs.planning import Attempts, asked, interrupted_twin, settings_of_run
from danlu.recipes.starting.start import find_device, find_start
from danlu.settings import Data, build
from danlu.tasks import EVERY, Task

LOOKS = "looks.jsonl"
P = TypeVar("P", bound=Prompt)


@dataclass(frozen=True)
class Plan(Generic[P]):
    """A run that is ready to begin, or to go on."""

    settings: P
    run: Run
    given: Given
    made: Material


def plan(call: Call, kind: type[P], action: str) -> Plan[P]:
    """Resolve a call; everything wrong with it is raised together. E2314 for a model that has learnt nothing, E2315 for
    rows that are not to be classified. action: names the run's folder."""
    meant = asked(call)
    if meant.run is not None:
        stored = settings_of_run(meant.run, kind, call)
        given = look(stored.data, "classify")
        return Plan(stored, meant.run, given, material(given, stored.data))
    attempt = Attempts()
    settings = attempt(lambda: build(kind, kind.defaults, meant.given, where=meant.source))
    if settings is None:
        attempt.end()
    if not settings.data.paths:
        attempt.problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    attempt(lambda: find_device(settings.device))
    attempt(lambda: _has_learnt(settings.start))
    found = attempt(lambda: look(settings.data, settings.task)) if settings.data.paths else None
    made = attempt(lambda: _classes(found, settings)) if found else None
    name = f"{action}-{Path((settings.data.paths or ('',))[0]).name}"
    run = attempt(lambda: new_run(settings.output, settings.start, name))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    if found is None or made is None or run is None or attempt.problems:
        attempt.end()
    complete = settings.model_copy(update={
        "task": "classify", "data": settings.data.model_copy(update={"columns": made.columns}),
    })  # fmt: skip
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), found, made)


def stands_on(settings: Prompt) -> Data:
    """What a ledger's numbers are about: the model and the rows."""
    files = {Path(path).name: file_hash(Path(path)) for path in settings.data.paths if Path(path).is_file()}
    return {"start": settings.start, "data": files, "seed": settings.seed}


def brief_from(settings: Prompt, made: Material) -> Brief:
    """What is known of the task."""
    meanings = {name: settings.labels.get(name, name) for name in made.labels}
    return brief_of(made.training, meanings, settings.rules.kind, settings.rules.language)


def _has_learnt(start: str) -> None:
    if find_start(start, None, {}, 0).where is None:
        raise DanluError("E2314", where=start)


def _classes(found: Given, settings: Prompt) -> Material:
    """The rows of a task of one label a row."""
    task = EVERY[found.inferred.task]
    if not isinstance(task, Task) or task.name != "classify":
        raise DanluError("E2315", where=found.where, found=found.inferred.task)
    made = material(found, settings.data)
    if strange := sorted(set(settings.labels) - set(made.labels)):
        raise DanluError("E1823", where=found.where, found=strange, possible=made.labels)
    return made
