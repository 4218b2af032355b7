"""`danlu pretrain palm-vision-mini PICTURES`, `danlu finetune RUN PICTURES`: a language model learns to see."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.evaluate.pictures import facts, retrieval
from danlu.files import replace_json
from danlu.models.build import parameters
from danlu.models.multimodal import MultimodalModel
from danlu.recipes.evaluating.judging import keep, say_results
from danlu.recipes.pictures.plan import Plan
from danlu.recipes.pictures.speaking.begin import begin, new_parts
from danlu.recipes.pictures.speaking.judge import embedded, judged, pictured, prior_of
from danlu.recipes.pictures.speaking.rows import Material, Mixed, loader, stream
from danlu.recipes.pictures.speaking.stage import TeachSeeing, plan
from danlu.recipes.runs.call import Answer, Call, Stopped
from danlu.recipes.runs.folder import Run, add_results
from danlu.recipes.runs.performing import perform
from danlu.recipes.starting.adapting import adapted
from danlu.recipes.starting.start import find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.train.distributed import World
from danlu.train.evaluation import Batches, HeldOut
from danlu.train.objectives import Objective, TokenObjective
from danlu.train.progress import Progress
from danlu.train.seeing import SeeingObjective
from danlu.train.trainer import Trainer
from danlu.voice import Voice

CHECKED = 500  # pictures that an evaluation while training looks at, at most
NEXT = (
    "next:  danlu evaluate {run} PICTURES    danlu chat {run} picture=FILE",
    "下一步：  danlu evaluate {run} 图片    danlu chat {run} picture=文件",
)


def pretrain(call: Call) -> Answer:
    """The verb."""
    return perform(call, "pretrain", plan, introduce, carry_out, NEXT)


def finetune(call: Call) -> Answer:
    """The same under the name by which a model that has learnt goes on."""
    call = replace(call, settings={"verb": "finetune"} | call.settings)
    return perform(call, "finetune", plan, introduce, carry_out, NEXT)


def introduce(ready: Plan[TeachSeeing], voice: Voice) -> None:
    """What was inferred."""
    settings, gathered = ready.settings, ready.gathered
    asked = sum(len(pair.questions) for pair in gathered.training)
    told = sum(len(pair.captions) for pair in gathered.training)
    films = sum(pair.is_film for pair in gathered.training)
    kinds = [
        (len(gathered.training) - films, "pictures", "张图片"), (films, "films", "段影片"),
        (asked, "questions with answers", "个问答"), (told, "captions", "条说明"),
    ]  # fmt: skip
    weights = f"{parameters(ready.start.config) / 1e6:,.1f}M"
    voice.say(
        f"{ready.start.name}: about {weights} parameters; "
        + ", ".join(f"{count:,} {en}" for count, en, _ in kinds if count),
        f"{ready.start.name}：约 {weights} 参数；" + "，".join(f"{count:,} {zh}" for count, _, zh in kinds if count),
    )
    task = ("answering questions about pictures", "看图问答") if asked else ("describing pictures", "图片描述")
    train, weight = settings.train, settings.pairs.weight
    more = (f", and one space for pictures and texts (weight {weight:g})", f"，并学习图文公共空间（权重 {weight:g}）")
    how = f"{train.optimizer}, lr {train.lr:g}"
    times = f"{train.steps * train.batch * train.accumulate / len(gathered.training):,.1f}" if train.steps else "?"
    voice.say(
        f"{task[0]}{more[0] if weight else ''}; each picture {times} times, {how}",
        f"{task[1]}{more[1] if weight else ''}；每张图片约 {times} 遍，{how}",
    )


def carry_out(ready: Plan[TeachSeeing], voice: Voice, world: World | None = None) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    world = world or World()
    settings, run = ready.settings, ready.run
    checkpoint, made = world.first(lambda: begin(ready, voice))
    checkpoint = adapted(checkpoint, settings.adapt, settings.seed, ready.start.name, voice)
    model = checkpoint.model
    assert isinstance(model, MultimodalModel)
    for part in settings.lock:
        model.lock(part)
    world.led(lambda: replace_json(run.path / "ledger.json", made.ledger.to_json()))
    objective = objective_of(settings, world)
    trainer = Trainer(
        model, objective, stream(ready, checkpoint, made, voice), settings.train, run.path,
        voice=voice, seed=settings.seed, evaluate=watched(checkpoint, settings, made, objective),
        device=find_device(settings.device), world=world,
        rates=new_parts(model, settings.faster) if ready.start.where and not settings.lock else {},
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu {settings.verb} {run}")
    world.led(lambda: finish(ready, voice, progress, checkpoint, made))
    return run


def objective_of(settings: TeachSeeing, world: World) -> Objective:
    """Answers, and pairs where they have a weight."""
    pairs = settings.pairs
    if not pairs.weight:
        return TokenObjective(settings.loss)
    return SeeingObjective(pairs.kind, pairs.weight, settings.loss, pairs, world)


def watched(
    checkpoint: Checkpoint, settings: TeachSeeing, made: Material, objective: Objective
) -> Callable[[nn.Module], Mapping[str, float]] | None:
    """The evaluation while training: the loss, and with pairs R@1 among all that is looked at."""
    if not made.validation:
        return None
    paired = bool(settings.pairs.weight)
    make = partial(loader, checkpoint, settings=settings, batch=64, seed=0, shuffle=False, paired=paired)
    held = {f"{side.frames} frames": make(side) for side in made.validation}
    looks = {name: min(each.steps_per_epoch, -(-CHECKED // each.size)) for name, each in held.items()}
    batches: Batches = next(iter(held.values())) if len(held) == 1 else Mixed(held, looks)
    measured = HeldOut(objective, batches, sum(looks.values()))
    if not paired:
        return measured

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, MultimodalModel)
        values = dict(measured(model))
        for name, each in held.items():
            found = facts(retrieval(embedded(model, each, CHECKED), (1,)))
            values |= found if len(held) == 1 else {f"{key}, {name}": value for key, value in found.items()}
        return values

    return evaluate


def finish(
    ready: Plan[TeachSeeing], voice: Voice, progress: Progress, checkpoint: Checkpoint, made: Material
) -> None:  # fmt: skip
    """Write the model, what was measured on it, the report and the card."""
    run, settings = ready.run, ready.settings
    replace(checkpoint, lineage=lineage(ready, progress, checkpoint, made)).save(run.model)
    prior = prior_of(made.training)
    for side in made.validation:
        name = "validation" if len(made.validation) == 1 else f"validation, {side.frames} frames"
        found = judged(checkpoint, side, settings, name, voice, prior)
        keep(run.path, found, own=side is made.validation[0])
        add_results(run.path, [], pictured(checkpoint, side, found))
        if not voice.quiet:
            say_results(found.results, voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)


def lineage(ready: Plan[TeachSeeing], progress: Progress, before: Checkpoint, made: Material) -> Data:
    """What the model comes from: its start, its data, and how long it was trained on them."""
    settings = ready.settings
    data = {str(Path(path).name): len(ready.gathered.training) for path in settings.data.paths}
    films = [side.frames for side in made.training if side.frames > 1]
    story = {"verb": settings.verb, "start": ready.start.name, "pictures": data}
    counts = {"steps": progress.step, "tokens": progress.tokens, "best_step": progress.best_step, "seed": settings.seed}
    more = ({"frames": films[0]} if films else {}) | ({"before": before.lineage} if ready.start.where else {})
    return story | counts | more
