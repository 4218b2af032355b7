"""Several tasks on one tower: a head a task, taking turns; or a task more for a model that has some."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from danlu.data.turns import Turns
from danlu.errors import DanluError, Problems
from danlu.files import replace_json
from danlu.models.classifier import Classifier
from danlu.models.families import Family
from danlu.recipes.evaluating.judging import Judging, judge
from danlu.recipes.finetuning.defaults import (
    Become,
    defaults,
    from_units,
    keep_embeddings,
    started,
    to_units,
    watched,
    with_heads,
    with_truncation,
    work_of,
)
from danlu.recipes.finetuning.material import Given, Material, look, material, say
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.runs.call import Answer, Call, Stopped
from danlu.recipes.runs.folder import Run, add_results, folder_problems, new_run
from danlu.recipes.runs.planning import Asked, Attempts, interrupted_twin, limits, settings_of_run
from danlu.recipes.starting.adapting import adapted, rates
from danlu.recipes.starting.start import Start, find_device, find_start
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data, build
from danlu.tasks import TASKS, Writing
from danlu.tasks.answering import Work
from danlu.train.answers import AnswerObjective
from danlu.train.trainer import Trainer
from danlu.voice import Voice

QUICK = 100.0  # times the rate of the weights: a doubt is one number, and has to arrive within the run
PART = ": "  # between a task's name and what its rows are for


@dataclass(frozen=True)
class Plan:
    """Tasks by the names of their heads."""

    settings: Finetune
    run: Run
    start: Start
    given: Mapping[str, Given]
    parts: Mapping[str, Material]


def together(meant: Asked, call: Call) -> Answer:
    """`danlu finetune START tasks.NAME.data.paths=...`: what the verb does where tasks have names."""
    ready = plan(meant, call)
    if call.dry_run:
        return call.rehearse(ready.settings)
    run, voice = ready.run, call.voice
    if run.state == "finished":
        voice.say(f"{run} is finished; nothing to do", f"{run} 已完成，无需再做")
        return Answer(run.path, run.metrics, run.files())
    for name, made in ready.parts.items():
        voice.say(f"— {name}", f"— {name}")
        say(voice, ready.given[name], made)
    fresh = run.state == "empty"
    if fresh:
        run.write_config(ready.settings.model_copy(update={"output": str(run), "lang": None}))
    try:
        carry_out(ready, voice)
    except KeyboardInterrupt:
        raise Stopped(f"danlu finetune {run}") from None
    except DanluError:
        if fresh:
            run.abandon()
        raise
    voice.say(f"done: {run}  (report: {run.path / 'report.html'})", f"完成：{run}（报告：{run.path / 'report.html'}）")
    return Answer(run.path, run.metrics, run.files())


def plan(meant: Asked, call: Call) -> Plan:
    """Everything wrong with a call is raised together; an error of a task's data names its file."""
    if meant.run is not None:
        settings = settings_of_run(meant.run, Finetune, call)
        given = {name: look(each.data, each.task) for name, each in settings.tasks.items()}
        parts = {name: material(each, settings.tasks[name].data) for name, each in given.items()}
        return Plan(settings, meant.run, find_start(settings.start, settings.size, settings.model, 0), given, parts)
    settings = build(Finetune, meant.given, where=meant.source)
    attempt = Attempts()
    if settings.data.paths or settings.task or settings.search or settings.seeds > 1:
        attempt.problems.append(DanluError("E1912", found=[*settings.data.paths, *settings.tasks]))
    attempt(lambda: find_device(settings.device))
    looked = {name: attempt(lambda each=each: look(each.data, each.task)) for name, each in settings.tasks.items()}  # type: ignore[misc]
    given = {name: each for name, each in looked.items() if each is not None}
    made = {name: attempt(lambda name=name, each=each: material(each, settings.tasks[name].data))  # type: ignore[misc]
            for name, each in given.items()}  # fmt: skip
    start = attempt(lambda: find_start(settings.start, settings.size, settings.model, 0, settings.tokenizer.vocabulary))
    run = attempt(lambda: new_run(settings.output, settings.start, "-".join(settings.tasks)))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    if start:
        attempt.problems.extend(limits(start.name, start.config, run))
    if attempt.problems or start is None or run is None:
        raise attempt.problems[0] if len(attempt.problems) == 1 else Problems(attempt.problems)
    parts = {name: each for name, each in made.items() if each is not None}
    if writing := [name for name, each in parts.items() if isinstance(each.task, Writing)]:
        raise DanluError("E1919", found=writing, possible=list(TASKS))
    complete = _complete(settings, start, parts, meant.given, meant.source)
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, given, parts)


def _complete(settings: Finetune, start: Start, parts: Mapping[str, Material], given: Data, source: str) -> Finetune:
    """Every setting that was left open, filled in."""
    rows = [row for made in parts.values() for row in made.training]
    first = next(iter(parts.values()))
    fixed: Data = {"tasks": {
        name: {"task": made.task.name, "data": {"columns": made.columns}} for name, made in parts.items()
    }}  # fmt: skip
    if start.where is None:
        fixed |= {"start": start.name, "size": None}
    guesses = defaults(start, replace(first, training=rows), given)
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    return build(Finetune, settings.model_dump(mode="json"), guesses, given, fixed, where=source)


def carry_out(ready: Plan, voice: Voice) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    settings, run, parts = ready.settings, ready.run, ready.parts
    device = find_device(settings.device)
    every = [row for made in parts.values() for row in made.training]
    become = heads_of(ready.start.family, parts, settings)
    begun = started(settings, ready.start, become, run.path, every, voice)
    checkpoint = adapted(begun, settings.adapt, settings.seed, ready.start.name, voice)
    model = checkpoint.model
    assert isinstance(model, Classifier)
    if not settings.embeddings and settings.adapt is None:
        keep_embeddings(model)
    if settings.balance == "uncertainty":
        model.doubts = nn.ParameterDict({name: nn.Parameter(torch.zeros((), device=device)) for name in parts})
    works = {name: work_of(checkpoint, made, name, settings.data.length) for name, made in parts.items()}
    for work in works.values():
        to_units(checkpoint, work)
    examples = {name: work.encode(parts[name].training) for name, work in works.items()}
    ledgers = {name: made.ledger_json(with_truncation(made.ledger, examples[name])) for name, made in parts.items()}
    replace_json(run.path / "ledger.json", summed(ledgers))
    loaders = {
        name: work.loader(
            examples[name], settings.train.batch, settings.seed, tokens=settings.data.tokens, shuffle=True
        )
        for name, work in works.items()
    }
    shares = {name: loader.steps_per_epoch**settings.sampling for name, loader in loaders.items()}
    weights = {name: settings.tasks[name].weight for name in parts}
    objective = AnswerObjective({name: work.task.loss for name, work in works.items()}, settings.loss, weights)
    trainer = Trainer(
        model, objective, Turns(loaders, shares, settings.train.accumulate), settings.train, run.path,
        voice=voice, seed=settings.seed, device=device,
        rates={**rates(checkpoint), **{f"doubts.{name}": QUICK for name in parts if model.doubts is not None}},
        evaluate=watched_together(works, parts, settings),
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu finetune {run}")
    model.doubts = None
    works = {name: from_units(model, work) for name, work in works.items()}
    lineage = {
        "verb": "finetune", "tasks": {name: made.task.name for name, made in parts.items()},
        "start": ready.start.name, "steps": progress.step, "tokens": progress.tokens,
        "best_step": progress.best_step, "seed": settings.seed,
    }  # fmt: skip
    before = {"before": checkpoint.lineage} if ready.start.where else {}
    replace(checkpoint, lineage=lineage | before).save(run.model)
    measure(ready, model, works, voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def heads_of(family: Family, parts: Mapping[str, Material], settings: Finetune) -> Become:
    return with_heads(family, parts, kept=settings.keep)


def watched_together(
    works: Mapping[str, Work], parts: Mapping[str, Material], settings: Finetune
) -> Callable[[nn.Module], Mapping[str, float]] | None:
    """The evaluations of all tasks: the best weights are those of the best mean of their first metrics."""
    looks = {
        name: look
        for name, work in works.items()
        if (look := watched(work, parts[name].validation, settings.train.precision))
    }
    if not looks:
        return None

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        found = {name: look(model) for name, look in looks.items()}
        values = {
            f"{name}_{key}": value for name, each in found.items() for key, value in each.items() if key != "cost"
        }
        count = len(found)
        loss = sum(settings.tasks[name].weight * each["loss"] for name, each in found.items())
        return {"loss": loss} | values | {"cost": sum(each["cost"] for each in found.values()) / count}

    return evaluate


def measure(ready: Plan, model: Classifier, works: Mapping[str, Work], voice: Voice) -> None:
    """Each task of the finished model on its rows to choose by and to test on."""
    how = Judging(precision=ready.settings.train.precision, seed=ready.settings.seed)
    for name, made in ready.parts.items():
        for part, rows in (("validation", made.validation), ("test", made.test)):
            if rows:
                judged = judge(model, works[name], rows, f"{name}{PART}{part}", voice, how)
                add_results(ready.run.path, judged.results)


def summed(ledgers: Mapping[str, Data]) -> Data:
    """One ledger of all tasks, and each task's own."""
    total: Data = {}
    for ledger in ledgers.values():
        for key, value in ledger.items():
            total[key] = _plus(total[key], value) if key in total else value
    return total | {"tasks": dict(ledgers)}


def _plus(one: object, other: object) -> object:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _plus(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
                for key in {**one, **other}}  # fmt: skip
    return one + other  # type: ignore[operator]
