"""`danlu finetune`: from a model and a small file of answers to a better model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.data.ledger import Ledger
from danlu.errors import DanluError, raise_all
from danlu.files import replace_json
from danlu.models.build import ModelConfig
from danlu.models.classifier import Classifier, ClassifierConfig
from danlu.models.families import Family
from danlu.models.families.heads import answer_config, decodes
from danlu.recipes.call import Answer, Call, Stopped
from danlu.recipes.planning import Attempts, asked, interrupted_twin, limits, settings_of_run
from danlu.recipes.runs import Run, add_results, folder_problems, new_run
from danlu.recipes.stages import Finetune
from danlu.recipes.start import Start, find_device, find_start
from danlu.recipes.tasks import Given, Material, look, material, say
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data, merge
from danlu.settings import build as build_settings
from danlu.tasks.answering import Work, logits_of
from danlu.tasks.framing import Framing
from danlu.tasks.task import Example, Row
from danlu.train.answers import AnswerObjective
from danlu.train.evaluation import HeldOut
from danlu.train.hardware import autocast, compute_precision
from danlu.train.trainer import Trainer
from danlu.voice import Voice

DEFAULTS: Data = {"schedule": "linear", "warmup": 0.1, "weight_decay": 0.01, "betas": (0.9, 0.999), "batch": 32}
EPOCHS, RATE = 3.0, 1e-4
MEASURED = 64  # rows in a forward pass of an evaluation


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
    ready = plan(call)
    if call.dry_run:
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
        settings = settings_of_run(meant.run, Finetune, call)
        given = look(settings.data, settings.task)
        return Plan(settings, meant.run, _start(settings), given, material(given, settings.data))
    attempt = Attempts()
    settings = attempt(lambda: build_settings(Finetune, meant.given, where=meant.source)) or _raised(attempt)
    if not settings.data.paths:
        attempt.problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    start = attempt(lambda: _start(settings))
    attempt(lambda: find_device(settings.device))
    found = attempt(lambda: look(settings.data, settings.task)) if settings.data.paths else None
    run = attempt(lambda: new_run(settings.output, settings.start, (settings.data.paths or ("",))[0]))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    if start:
        attempt.problems.extend(limits(start.name, start.config, run))
    made = attempt(lambda: material(found, settings.data)) if found else None
    if not (start and found and run and made) or attempt.problems:
        _raised(attempt)
    assert start and found and run and made
    complete = _complete(settings, made, meant.given, meant.source)
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, found, made)


def _raised(attempt: Attempts) -> Finetune:
    raise_all(attempt.problems)
    raise AssertionError("a plan that failed has problems")


def _start(settings: Finetune) -> Start:
    return find_start(settings.start, settings.size, settings.model, 0, settings.tokenizer.vocabulary)


def _complete(settings: Finetune, made: Material, given: Data, source: str) -> Finetune:
    """Every setting that was left open, filled in."""
    train = given.get("train") or {}
    guesses: Data = {"train": DEFAULTS | {"lr": RATE}}
    if not any(train.get(name) for name in ("steps", "epochs", "minutes")):
        guesses["train"] |= {"epochs": EPOCHS}
    fixed: Data = {"task": made.task.name, "data": {"columns": made.columns}}
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    return build_settings(Finetune, settings.model_dump(mode="json"), guesses, given, fixed, where=source)


def carry_out(ready: Plan, voice: Voice) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    settings, run, made = ready.settings, ready.run, ready.made
    device = find_device(settings.device)
    checkpoint = begin(ready)
    assert isinstance(checkpoint.model, Classifier)
    work = work_of(checkpoint, made, settings.data.length)
    training = work.encode(made.training)
    replace_json(run.path / "ledger.json", with_truncation(made.ledger, training).to_json())
    loader = work.loader(training, settings.train.batch, settings.seed, shuffle=True)
    objective = AnswerObjective({work.head: made.task.loss}, settings.loss)
    evaluate = watching(work, objective, made.validation) if made.validation else None
    trainer = Trainer(
        checkpoint.model, objective, loader, settings.train, run.path,
        voice=voice, seed=settings.seed, evaluate=evaluate, device=device,
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu finetune {run}")
    lineage = {"verb": "finetune", "task": made.task.name, "start": ready.start.name, "steps": progress.step,
               "best_step": progress.best_step, "seed": settings.seed, "before": checkpoint.lineage}  # fmt: skip
    replace(checkpoint, lineage=lineage).save(run.model)
    with autocast(device, compute_precision(settings.train.precision, device)):
        for name, rows in (("validation", made.validation), ("test", made.test)):
            if rows:
                found = measured(checkpoint.model.eval(), work, rows)
                add_results(run.path, [{"name": each, "data": name, "value": value, "count": len(rows)}
                                       for each, value in found.items()])  # fmt: skip
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def begin(ready: Plan) -> Checkpoint:
    """The model before its first step, with a head for the task."""
    settings, start, made = ready.settings, ready.start, ready.made
    become = with_head(start.family, made)
    if start.where is None:
        raise DanluError("E1903", where=start.name)
    return Checkpoint.load(start.where, seed=settings.seed, become=become)


def with_head(family: Family, made: Material) -> Callable[[ModelConfig], ModelConfig]:
    """From a tower's config to one with the task's head; a classifier that answers the same keeps its own."""

    def become(config: ModelConfig) -> ModelConfig:
        head = answer_config(family, made.task.form, made.task.problem, made.labels)
        if isinstance(config, ClassifierConfig):
            own = config.heads.get(made.task.name)
            if own and (own.labels, own.problem) == (made.labels, made.task.problem):
                return config
        base = config.base if isinstance(config, ClassifierConfig) else config
        return ClassifierConfig(base=base, heads={made.task.name: head}, decodes=decodes(family, made.task.form))

    return become


def work_of(checkpoint: Checkpoint, made: Material, length: int | None = None) -> Work:
    """The task as this model does it."""
    config = checkpoint.config
    assert isinstance(config, ClassifierConfig)
    if checkpoint.tokenizer is None:
        raise DanluError("E1806")
    longest = min(length or 512, config.length or 512)
    framing = Framing(checkpoint.tokenizer, longest, config.base.embedding.segments > 1)
    return Work(made.task, made.task.name, config.heads[made.task.name].labels, framing)


def with_truncation(ledger: Ledger, examples: list[Example]) -> Ledger:
    """The ledger once it is known which rows of the training set were cut."""
    cut = [example.cut for example in examples if example.cut]
    return replace(ledger, trained=ledger.trained - len(cut), truncated=len(cut), truncated_by=sum(cut)).check()


def measured(model: Classifier, work: Work, rows: list[Row]) -> dict[str, float]:
    """The task's metrics on rows."""
    examples = work.encode(rows)
    logits = logits_of(model, work, examples, work.loader(examples, MEASURED, asked=False))
    answers = work.answers(logits, examples, rows)
    right = sum(answer["label"] == str(row.values["label"]) for answer, row in zip(answers, rows, strict=True))
    return {"accuracy": right / len(rows)}


def watching(work: Work, objective: AnswerObjective, rows: list[Row]) -> Callable[[nn.Module], Mapping[str, float]]:
    """The evaluation while training: the loss and the metrics on the rows set aside; the first metric chooses."""
    examples = work.encode(rows)
    held_out = HeldOut(objective, work.loader(examples, MEASURED))

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, Classifier)
        values = held_out(model)
        found = measured(model, work, rows)
        return merge(values, found, {"cost": -next(iter(found.values()))})

    return evaluate
