"""Before anything heavy loads: what a fine-tuning call means, every setting resolved, every problem found."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from danlu.data.ledger import Ledger
from danlu.errors import DanluError
from danlu.models.build import ModelConfig
from danlu.recipes.finetuning.defaults import answering, writing
from danlu.recipes.finetuning.heads import with_heads
from danlu.recipes.finetuning.stage import Finetune, TaskChoice
from danlu.recipes.preparing.material import Given, Material, look, material, say
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run, folder_problems, new_run
from danlu.recipes.runs.planning import Attempts, asked, interrupted_twin, limits, settings_of_run
from danlu.recipes.runs.processes import refuse_several
from danlu.recipes.starting.adapting import foreseen, say_trained
from danlu.recipes.starting.start import Start, find_device, find_start
from danlu.settings import Data, build, merge
from danlu.tasks import TASKS, Writing
from danlu.tasks.preferring import PREFER
from danlu.tasks.writing import WritingSettings
from danlu.voice import Voice


@dataclass(frozen=True)
class Part:
    """One task of a run: what its files hold, and its rows."""

    choice: TaskChoice
    given: Given
    made: Material


@dataclass(frozen=True)
class Plan:
    """A run that is ready to begin, or to go on. parts: by the name of their head; one task goes by its own name."""

    settings: Finetune
    run: Run
    start: Start
    parts: Mapping[str, Part]

    @property
    def alone(self) -> bool:
        """Whether there is one task, without a name of its own."""
        return not self.settings.tasks

    @property
    def writes(self) -> bool:
        """Whether answers are texts."""
        return writes(self.parts)

    @property
    def part(self) -> Part:
        """The first task."""
        return next(iter(self.parts.values()))

    def become(self, config: ModelConfig) -> ModelConfig:
        """The config that the start gets for the tasks."""
        return _becoming(self.settings, self.start, self.parts, config)

    def writing(self, name: str) -> WritingSettings:
        """How the task of this name puts things."""
        return self.parts[name].choice.writing or self.settings.writing


def writes(parts: Mapping[str, Part]) -> bool:
    return any(isinstance(part.made.task, Writing) for part in parts.values())


def plan(call: Call) -> Plan:
    """Resolve a call. Everything wrong with it is raised together; an error of a task's data names its file."""
    meant = asked(call)
    if meant.run is not None:
        stored = settings_of_run(meant.run, Finetune, call)
        _refuse_several(stored, call)
        parts = {name: part for choice in _choices(stored).items() for name, part in [_part(*choice)]}
        return Plan(stored, meant.run, _start(stored, parts), parts)
    attempt = Attempts()
    settings = attempt(lambda: build(Finetune, meant.given, where=meant.source)) or attempt.end()
    data = settings.data.paths
    attempt(lambda: _refuse_several(settings, call))
    if settings.tasks and (data or settings.task or _consists_of_several(settings)):
        attempt.problems.append(DanluError("E1912", found=[*data, *settings.tasks]))
    if len(settings.tasks) < 2 and settings.balance != "fixed":
        attempt.problems.append(DanluError("E1922", found=settings.balance))
    if not settings.tasks and not data:
        attempt.problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    attempt(lambda: find_device(settings.device))
    choices = _choices(settings) if settings.tasks or data else {}
    found = [attempt(lambda each=each: _part(*each)) for each in choices.items()]  # type: ignore[misc]
    parts = dict(each for each in found if each is not None)
    start = attempt(lambda: _start(settings, parts))
    run = attempt(lambda: new_run(settings.output, settings.start, "-".join(settings.tasks) or (data or ("",))[0]))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    if start:
        attempt.problems.extend(limits(start.name, start.config, run))
    if start and parts and not attempt.problems:
        attempt(lambda: _check(settings, start, parts))
    if attempt.problems or not start or not run:
        attempt.end()
    complete = _complete(settings, start, parts, meant.given, meant.source)
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, parts)


def introduce(ready: Plan, voice: Voice) -> None:
    """What was inferred."""
    for name, part in ready.parts.items():
        if not ready.alone:
            voice.say(f"— {name}", f"— {name}")
        say(voice, part.given, part.made)
    if (change := ready.settings.adapt) is not None:
        say_trained(voice, foreseen(ready.become(ready.start.config), change), change)


def _consists_of_several(settings: Finetune) -> bool:
    return bool(settings.search) or settings.seeds > 1


def _refuse_several(settings: Finetune, call: Call) -> None:
    """E2113 where a run that consists of several shall be shared out among processes."""
    if _consists_of_several(settings):
        refuse_several("finetune", call)


def _choices(settings: Finetune) -> Mapping[str, TaskChoice]:
    return settings.tasks or {"": TaskChoice(task=settings.task, data=settings.data)}


def _part(name: str, choice: TaskChoice) -> tuple[str, Part]:
    """Read the files of a task."""
    given = look(choice.data, choice.task)
    made = material(given, choice.data)
    return name or made.task.name, Part(choice, given, made)


def _start(settings: Finetune, parts: Mapping[str, Part]) -> Start:
    files = {file.path for part in parts.values() for file in part.given.found["train"] if file.path.is_file()}
    size = sum(path.stat().st_size for path in files)
    return find_start(settings.start, settings.size, settings.model, size, settings.tokenizer.vocabulary)


def _becoming(settings: Finetune, start: Start, parts: Mapping[str, Part], config: ModelConfig) -> ModelConfig:
    if writes(parts):
        return config
    return with_heads(start.family, {name: part.made for name, part in parts.items()}, config, settings.keep)


def _check(settings: Finetune, start: Start, parts: Mapping[str, Part]) -> None:
    """E1919 where tasks cannot share a model, E1921 where the model cannot write; errors of the change."""
    if written := [name for name, part in parts.items() if isinstance(part.made.task, Writing)]:
        if len(parts) > 1 and (len(written) < len(parts) or any(part.made.task is PREFER for part in parts.values())):
            raise DanluError("E1919", found=written, possible=list(TASKS))
        if start.config.kind not in ("language", "sequence_to_sequence") or not start.config.causal:
            raise DanluError("E1921", where=start.name, found=start.config.kind)
    if settings.adapt is not None:
        foreseen(_becoming(settings, start, parts, start.config), settings.adapt)


def _complete(settings: Finetune, start: Start, parts: Mapping[str, Part], given: Data, source: str) -> Finetune:
    """Every setting that was left open, filled in."""
    told: dict[str, Data] = {
        name: {"task": part.made.task.name, "data": {"columns": part.made.columns}} for name, part in parts.items()
    }
    fixed: Data = {"tasks": told} if settings.tasks else next(iter(told.values()))
    if start.where is None:
        fixed = merge(fixed, {"start": start.name, "size": None})
    rows = [row for part in parts.values() for row in part.made.training]
    first = replace(next(iter(parts.values())).made, training=rows, ledger=Ledger())
    guesses = (writing if writes(parts) else answering)(start, first, given)
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    return build(Finetune, settings.model_dump(mode="json"), guesses, given, fixed, where=source)
