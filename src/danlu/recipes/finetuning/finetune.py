"""`danlu finetune`: from a model and a small file of answers to a model that gives them."""

from dataclasses import replace

from danlu.checkpoint import Checkpoint
from danlu.evaluate.answers import knows
from danlu.files import file_hash, replace_json
from danlu.generate.exercise import Exercise
from danlu.recipes.evaluating.judging import Judging, judge, keep, say_results
from danlu.recipes.finetuning.begin import begin
from danlu.recipes.finetuning.heads import from_units
from danlu.recipes.finetuning.lesson import Lesson, lesson
from danlu.recipes.finetuning.plan import Part, Plan, introduce, plan
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.finetuning.trials.job import Job, Watch
from danlu.recipes.finetuning.trials.search import search
from danlu.recipes.finetuning.trials.seeds import several
from danlu.recipes.pictures.plan import kind_of_start
from danlu.recipes.pictures.pretrain import finetune as finetune_pictures
from danlu.recipes.pictures.speaking.learn import finetune as finetune_seeing
from danlu.recipes.preparing.material import Material
from danlu.recipes.runs.call import Answer, Call, Stopped
from danlu.recipes.runs.folder import Run, tidy
from danlu.recipes.runs.performing import perform
from danlu.recipes.starting.adapting import rates
from danlu.recipes.starting.start import find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.tasks.answering import Work
from danlu.tasks.paper import Paper
from danlu.train.distributed import World
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer
from danlu.voice import Voice


def finetune(call: Call) -> Answer:
    """The verb."""
    kinds = {"dual": finetune_pictures, "multimodal": finetune_seeing}
    if own := kinds.get(kind_of_start(call) or ""):
        return own(call)
    return perform(call, "finetune", plan, introduce, carry_out)


def carry_out(ready: Plan, voice: Voice, world: World | None = None) -> Run:
    """Do, or finish, a planned run, or the several that it asks for."""
    settings, run = ready.settings, ready.run
    if not settings.search and settings.seeds == 1:
        return learn(ready, voice, world or World())

    def each(settings: Finetune, run: Run, made: Material, voice: Voice, watch: Watch | None) -> None:
        parts = {name: replace(part, made=made) for name, part in ready.parts.items()}
        learn(replace(ready, settings=settings, run=run, parts=parts), voice, World(), watch)

    job = Job(settings, run, ready.part.made, each)
    found = search(job, voice) if settings.search else settings
    if settings.seeds > 1:
        several(job, found, voice)
    last = "test" if ready.part.made.test else "validation"
    say_results([row for row in run.results if row["data"] == last], voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def learn(ready: Plan, voice: Voice, world: World, watch: Watch | None = None) -> Run:
    """One run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    settings, run = ready.settings, ready.run
    checkpoint = world.first(lambda: begin(ready, voice))
    taught = lesson(ready, checkpoint, voice)
    world.led(lambda: replace_json(run.path / "ledger.json", taught.ledger))
    trainer = Trainer(
        checkpoint.model, taught.objective, taught.stream(taught.examples, shuffle=True), taught.train, run.path,
        voice=voice, seed=settings.seed, device=find_device(settings.device), world=world, rates=rates(checkpoint),
        balance=taught.balance, evaluate=taught.evaluation(lambda: trainer.progress.step, world, watch),
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu finetune {run}")
    world.led(lambda: finish(taught, progress, voice))
    return run


def finish(taught: Lesson, progress: Progress, voice: Voice) -> None:
    """Write the model, what was measured on it, the report and the card."""
    ready, checkpoint = taught.ready, taught.checkpoint
    run = ready.run
    exercises = {
        name: from_units(checkpoint.model, each) if isinstance(each, Work) else each
        for name, each in taught.exercises.items()
    }
    replace(checkpoint, lineage=lineage(ready, progress, checkpoint)).save(run.model)
    for name, part in ready.parts.items():
        measure(ready, checkpoint, exercises[name], part, "" if ready.alone else f"{name}: ", voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    tidy(run, ready.settings.train, voice)


def measure(ready: Plan, checkpoint: Checkpoint, exercise: Exercise, part: Part, title: str, voice: Voice) -> None:
    """One task of the finished model on its rows to choose by and to test on; predictions on the last are the run's
    own where there is one task."""
    how = Judging(precision=ready.settings.train.precision, seed=ready.settings.seed)
    for name, rows in (("validation", part.made.validation), ("test", part.made.test)):
        if rows and (isinstance(exercise, Paper) or any(knows(exercise, row) for row in rows)):
            judged = judge(checkpoint, exercise, rows, title + name, voice, how)
            keep(ready.run.path, judged, own=not title)
            if not voice.quiet and (name == "test" or not part.made.test):
                say_results(judged.results, voice)


def lineage(ready: Plan, progress: Progress, before: Checkpoint) -> Data:
    """What the model comes from: its start, the hashes of its data, and how long it was trained on them; and how it
    learnt to put texts."""
    files = [file for part in ready.parts.values() for some in part.given.found.values() for file in some]
    tasks = {name: part.made.task.name for name, part in ready.parts.items()}
    written = {
        name: {"task": tasks[name], "prompt": ready.writing(name).prompt, "answer_length": ready.writing(name).length}
        for name in (tasks if ready.writes else ())
    }
    story: Data = {"verb": "finetune"} | ({"task": ready.part.made.task.name} if ready.alone else {"tasks": tasks})
    story |= {"start": ready.start.name, "steps": progress.step, "tokens": progress.tokens}
    story |= {"best_step": progress.best_step, "seed": ready.settings.seed}
    story["data"] = {file.name: file_hash(file.path) for file in files if file.path.is_file()}
    return story | ({"before": before.lineage} if ready.start.where else {}) | ({"writing": written} if written else {})
