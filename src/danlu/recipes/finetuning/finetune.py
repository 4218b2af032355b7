"""`danlu finetune`: from a model and a small file of answers to a model that gives them."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError, raise_all
from danlu.evaluate.answers import knows
from danlu.files import file_hash, replace_json
from danlu.models.build import ModelConfig
from danlu.models.classifier import Classifier
from danlu.recipes.evaluating.judging import Judging, judge, keep, say_results
from danlu.recipes.finetuning import writing
from danlu.recipes.finetuning.defaults import (
    defaults,
    from_units,
    keep_embeddings,
    started,
    to_units,
    watched,
    with_head,
    with_truncation,
    work_of,
)
from danlu.recipes.finetuning.material import Given, Material, look, material, say
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.finetuning.together import together
from danlu.recipes.finetuning.trials.job import Job, Watch
from danlu.recipes.finetuning.trials.search import search
from danlu.recipes.finetuning.trials.seeds import several
from danlu.recipes.runs.call import Answer, Call, Stopped
from danlu.recipes.runs.folder import Run, folder_problems, new_run
from danlu.recipes.runs.planning import Attempts, asked, interrupted_twin, limits, settings_of_run
from danlu.recipes.runs.processes import refuse_several
from danlu.recipes.starting.adapting import adapted, foreseen, rates, say_trained
from danlu.recipes.starting.start import Start, find_device, find_start
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.settings import build as build_settings
from danlu.tasks.answering import Work
from danlu.tasks.writing import Writing
from danlu.train.answers import AnswerObjective
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer
from danlu.voice import Voice


@dataclass(frozen=True)
class Plan:
    """A run that is ready to begin, or to go on."""

    settings: Finetune
    run: Run
    start: Start
    given: Given
    made: Material


def finetune(call: Call) -> Answer:
    """The verb."""
    refuse_several("finetune", call)
    meant = asked(call)
    if meant.given.get("tasks") or (meant.run and meant.run.config.get("tasks")):
        return together(meant, call)
    ready = plan(call)
    if call.dry_run:
        if (change := ready.settings.adapt) is not None:
            say_trained(call.voice, foreseen(_becoming(ready.start, ready.made), change), change)
        return call.rehearse(ready.settings)
    run, voice = ready.run, call.voice
    if run.state == "finished":
        voice.say(f"{run} is finished; nothing to do", f"{run} 已完成，无需再做")
        return Answer(run.path, run.metrics, run.files())
    say(voice, ready.given, ready.made)
    fresh = run.state == "empty"
    if fresh:
        run.write_config(ready.settings.model_copy(update={"output": str(run), "lang": None}))
    try:
        if ready.settings.search or ready.settings.seeds > 1:
            carry_out_several(ready, voice)
        else:
            carry_out(ready, voice)
    except KeyboardInterrupt:
        raise Stopped(f"danlu finetune {run}") from None
    except DanluError:
        if fresh:
            run.abandon()
        raise
    voice.say(f"done: {run}  (report: {run.path / 'report.html'})", f"完成：{run}（报告：{run.path / 'report.html'}）")
    return Answer(run.path, run.metrics, run.files())


def plan(call: Call) -> Plan:
    """Resolve a call. Everything wrong with it is raised together."""
    meant = asked(call)
    if meant.run is not None:
        stored = settings_of_run(meant.run, Finetune, call)
        given = look(stored.data, stored.task)
        return Plan(stored, meant.run, _start(stored, given), given, material(given, stored.data))
    attempt = Attempts()
    settings = attempt(lambda: build_settings(Finetune, meant.given, where=meant.source))
    if settings is None:
        _raise(attempt)
    if not settings.data.paths:
        attempt.problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    attempt(lambda: find_device(settings.device))
    found = attempt(lambda: look(settings.data, settings.task)) if settings.data.paths else None
    made = attempt(lambda: material(found, settings.data)) if found else None
    start = attempt(lambda: _start(settings, found))
    run = attempt(lambda: new_run(settings.output, settings.start, (settings.data.paths or ("",))[0]))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    if start:
        attempt.problems.extend(limits(start.name, start.config, run))
    if start and made and isinstance(made.task, Writing):
        attempt(lambda: writing.check_writer(start.config, start.name))
    if start and made and (change := settings.adapt) is not None and not attempt.problems:
        attempt(lambda: foreseen(_becoming(start, made), change))
    if start is None or found is None or run is None or made is None or attempt.problems:
        _raise(attempt)
    complete = _complete(settings, start, made, meant.given, meant.source)
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, found, made)


def _raise(attempt: Attempts) -> NoReturn:
    raise_all(attempt.problems)
    raise AssertionError("a plan that failed has problems")


def _start(settings: Finetune, given: Given | None) -> Start:
    size = sum(file.path.stat().st_size for file in given.found["train"] if file.path.is_file()) if given else 0
    return find_start(settings.start, settings.size, settings.model, size, settings.tokenizer.vocabulary)


def _becoming(start: Start, made: Material) -> ModelConfig:
    """The config that a start gets for the task."""
    return start.config if isinstance(made.task, Writing) else with_head(start.family, made)(start.config)


def _complete(settings: Finetune, start: Start, made: Material, given: Data, source: str) -> Finetune:
    """Every setting that was left open, filled in."""
    fixed: Data = {"task": made.task.name, "data": {"columns": made.columns}}
    if start.where is None:
        fixed |= {"start": start.name, "size": None}
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    guesses = (writing.defaults if isinstance(made.task, Writing) else defaults)(start, made, given)
    return build_settings(Finetune, settings.model_dump(mode="json"), guesses, given, fixed, where=source)


def carry_out_several(ready: Plan, voice: Voice) -> None:
    """The runs of a search, of several seeds, or of several seeds with the settings that a search found."""

    def each(settings: Finetune, run: Run, made: Material, voice: Voice, watch: Watch | None) -> None:
        carry_out(replace(ready, settings=settings, run=run, made=made), voice, watch)

    job, settings, run = Job(ready.settings, ready.run, ready.made, each), ready.settings, ready.run
    if settings.search:
        settings = search(job, voice)
    if ready.settings.seeds > 1:
        several(job, settings, voice)
    say_results([row for row in run.results if row["data"] == ("test" if ready.made.test else "validation")], voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)


def carry_out(ready: Plan, voice: Voice, watch: Watch | None = None) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    settings, run, made = ready.settings, ready.run, ready.made
    if isinstance(made.task, Writing):
        return writing.carry_out(settings, run, ready.start, made, partial(lineage, ready), voice, watch)
    device = find_device(settings.device)
    checkpoint = adapted(begin(ready, voice), settings.adapt, settings.seed, ready.start.name, voice)
    assert isinstance(checkpoint.model, Classifier)
    if not settings.embeddings and settings.adapt is None:
        keep_embeddings(checkpoint.model)
    work = work_of(checkpoint, made, made.task.name, settings.data.length)
    to_units(checkpoint, work)
    training = work.encode(made.training)
    replace_json(run.path / "ledger.json", made.ledger_json(with_truncation(made.ledger, training)))
    loader = work.loader(training, settings.train.batch, settings.seed, tokens=settings.data.tokens, shuffle=True)
    objective = AnswerObjective({work.head: made.task.loss}, settings.loss)
    trainer = Trainer(
        checkpoint.model, objective, loader, settings.train, run.path,
        voice=voice, seed=settings.seed, device=device, rates=rates(checkpoint),
        evaluate=watched(work, made.validation, settings.train.precision, watch),
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu finetune {run}")
    work = from_units(checkpoint.model, work)
    replace(checkpoint, lineage=lineage(ready, progress, checkpoint)).save(run.model)
    measure(ready, checkpoint.model, work, voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def begin(ready: Plan, voice: Voice) -> Checkpoint:
    """The model before its first step, with a head for the task."""
    settings, start, run, made = ready.settings, ready.start, ready.run, ready.made
    return started(settings, start, with_head(start.family, made), run.path, made.training, voice)


def lineage(ready: Plan, progress: Progress, before: Checkpoint) -> Data:
    """What the model comes from: its start, the hashes of its data, and how long it was trained on them."""
    found = [file for some in ready.given.found.values() for file in some if file.path.is_file()]
    return {
        "verb": "finetune", "task": ready.made.task.name, "start": ready.start.name,
        "data": {file.name: file_hash(Path(file.path)) for file in found}, "steps": progress.step,
        "tokens": progress.tokens, "best_step": progress.best_step, "seed": ready.settings.seed,
    } | ({"before": before.lineage} if ready.start.where else {})  # fmt: skip


def measure(ready: Plan, model: Classifier, work: Work, voice: Voice) -> None:
    """The finished model on the rows to choose by and to test on; the predictions of the last are kept."""
    settings, made = ready.settings, ready.made
    how = Judging(precision=settings.train.precision, seed=settings.seed)
    for name, rows in (("validation", made.validation), ("test", made.test)):
        if any(knows(work, row) for row in rows):
            judged = judge(model, work, rows, name, voice, how)
            keep(ready.run.path, judged, own=True)
            if not voice.quiet and (name == "test" or not made.test):
                say_results(judged.results, voice)
