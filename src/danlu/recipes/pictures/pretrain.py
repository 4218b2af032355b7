"""`danlu pretrain clip-mini PICTURES`: two towers learn what belongs together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.loader import Augmentation, PictureLoader
from danlu.data.pictures.prepare import Prepared, Side, prepare
from danlu.evaluate.pictures import embed, facts, retrieval
from danlu.files import replace_json
from danlu.generate.matching import Matcher
from danlu.models.build import build as build_model
from danlu.models.build import parameters
from danlu.models.dual import DualConfig, DualEncoder
from danlu.models.eyes import default_processor
from danlu.recipes.pictures.naming import named
from danlu.recipes.pictures.plan import Plan, plan
from danlu.recipes.pictures.shown import shown
from danlu.recipes.pictures.stage import PretrainPictures
from danlu.recipes.runs.call import Answer, Call, Stopped
from danlu.recipes.runs.folder import Run, add_results
from danlu.recipes.runs.performing import perform
from danlu.recipes.starting.start import chosen_tokenizer, find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import train_tokenizer
from danlu.train.contrast import PairObjective
from danlu.train.distributed import World
from danlu.train.evaluation import HeldOut
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer
from danlu.voice import Voice

CHECKED = 1000  # pairs that an evaluation while training looks at, at most
GALLERY = 256  # of a batch of held-out pairs


@dataclass(frozen=True)
class Loading:
    training: PictureLoader
    held_out: PictureLoader | None


def pretrain(call: Call) -> Answer:
    """The verb."""
    further = "next:  danlu evaluate {run} PICTURES", "下一步：  danlu evaluate {run} 图片"
    return perform(call, "pretrain", plan, introduce, carry_out, further)


def finetune(call: Call) -> Answer:
    """Classes, or captions, taught as pretraining teaches them (Goyal et al. 2023, "finetune like you pretrain")."""
    call = replace(call, settings={"verb": "finetune"} | call.settings)
    further = "next:  danlu evaluate {run} PICTURES", "下一步：  danlu evaluate {run} 图片"
    return perform(call, "finetune", plan, introduce, carry_out, further)


def introduce(ready: Plan[PretrainPictures], voice: Voice) -> None:
    """What was inferred."""
    settings, pictures = ready.settings, len(ready.gathered.training)
    train, weights = settings.train, f"{parameters(ready.start.config) / 1e6:,.1f}M"
    voice.say(
        f"{ready.start.name}: about {weights} parameters; {pictures:,} pictures with captions",
        f"{ready.start.name}：约 {weights} 参数；{pictures:,} 张带说明的图片",
    )
    if train.steps:
        rows = train.batch * train.accumulate
        times = f"{train.steps * rows / pictures:,.1f}"
        how = f"{train.optimizer}, lr {train.lr:g}"
        voice.say(
            f"{train.steps:,} steps of {rows} pictures: each {times} times; {settings.objective}, {how}",
            f"{train.steps:,} 步，每步 {rows} 张：每张约 {times} 遍；{settings.objective}，{how}",
        )


def carry_out(ready: Plan[PretrainPictures], voice: Voice, world: World | None = None) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    world = world or World()
    settings, run = ready.settings, ready.run
    device = find_device(settings.device)
    checkpoint, prepared = world.first(lambda: begin(ready, voice))
    model = towers(checkpoint)
    if settings.lock:
        model.lock(settings.lock)
    world.led(lambda: replace_json(run.path / "ledger.json", prepared.ledger.to_json()))
    loaded = loaders(ready, checkpoint, prepared)
    objective = PairObjective(settings.objective or "contrastive", settings.loss, world)
    evaluate = watched(objective, loaded.held_out) if loaded.held_out else None
    trainer = Trainer(
        model, objective, loaded.training, settings.train, run.path,
        voice=voice, seed=settings.seed, evaluate=evaluate, device=device, world=world,
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu {settings.verb} {run}")
    world.led(lambda: finish(ready, voice, progress, checkpoint, prepared, loaded))
    return run


def begin(ready: Plan[PretrainPictures], voice: Voice) -> tuple[Checkpoint, Prepared]:
    """The model before its first step, and the decoded pictures."""
    checkpoint = start_model(ready, voice)
    assert checkpoint.processor
    encode = partial(Matcher(checkpoint).encode, length=ready.settings.data.length)
    return checkpoint, prepare(ready.gathered, ready.settings.data, checkpoint.processor, encode, voice)


def start_model(ready: Plan[PretrainPictures], voice: Voice) -> Checkpoint:
    settings, start = ready.settings, ready.start
    if start.where is not None:
        return Checkpoint.load(start.where)
    tokenizer = make_tokenizer(ready, voice)
    changes = dict(settings.model)
    if isinstance(start.config, DualConfig) and start.config.pool == "end":
        changes["end"] = tokenizer.special["end"]
    config = start.with_vocabulary(tokenizer.vocabulary, changes)
    assert isinstance(config, DualConfig)
    model = build_model(config, "cpu", settings.seed)
    return Checkpoint(start.family, config, model, tokenizer, processor=default_processor(config))


def make_tokenizer(ready: Plan[PretrainPictures], voice: Voice) -> Tokenizer:
    """The one that was given, the one an interrupted run has kept, or a fresh one, learnt from the captions."""
    choice, family, captions = ready.settings.tokenizer, ready.start.family, ready.gathered.captions
    return chosen_tokenizer(
        choice, ready.run.tokenizer if ready.run.path.is_dir() else None,
        lambda: train_tokenizer(captions(), choice, family.specials, voice, frame=family.frame),
    )  # fmt: skip


def towers(checkpoint: Checkpoint) -> DualEncoder:
    assert isinstance(checkpoint.model, DualEncoder)
    return checkpoint.model


def loaders(ready: Plan[PretrainPictures], checkpoint: Checkpoint, prepared: Prepared) -> Loading:
    settings = ready.settings
    augmentation = Augmentation(settings.data.crop, settings.data.flip)
    training = loader(checkpoint, prepared.training, settings.train.batch, settings.seed, True, augmentation)
    held = prepared.validation
    return Loading(training, loader(checkpoint, held, min(GALLERY, len(held.data)), settings.seed) if held else None)


def loader(
    checkpoint: Checkpoint, side: Side, batch: int, seed: int, shuffle: bool = False,
    augmentation: Augmentation | None = None,
) -> PictureLoader:  # fmt: skip
    assert checkpoint.processor
    return PictureLoader(
        side.data,
        checkpoint.processor,
        Matcher(checkpoint).framing,
        batch,
        seed,
        shuffle=shuffle,
        augmentation=augmentation,
    )


def watched(objective: PairObjective, held_out: PictureLoader) -> Callable[[nn.Module], Mapping[str, float]]:
    """The evaluation while training: the loss within batches, and R@1 among all that is looked at."""
    batches = max(1, min(held_out.steps_per_epoch, CHECKED // held_out.size))
    measured = HeldOut(objective, held_out, batches)

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, DualEncoder)
        found = retrieval(embed(model, map(held_out.batch, range(batches))), (1,))
        return measured(model) | facts(found)

    return evaluate


def finish(
    ready: Plan[PretrainPictures],
    voice: Voice,
    progress: Progress,
    checkpoint: Checkpoint,
    prepared: Prepared,
    loaded: Loading,
) -> None:
    """Write the model, what was measured on it, the report and the card."""
    run = ready.run
    towers(checkpoint).similarity.clamp()
    replace(checkpoint, lineage=lineage(ready, progress, checkpoint)).save(run.model)
    held, side = loaded.held_out, prepared.validation
    if held and side:
        found = embed(towers(checkpoint), map(held.batch, range(held.steps_per_epoch)))
        gallery = f"held out, {len(side.pairs):,} pairs"
        naming = named(checkpoint, found, side)
        measured = retrieval(found) | ({"zero_shot": naming.accuracy} if naming else {})
        rows = [{"name": name, "data": gallery} | each.plain() for name, each in measured.items()]
        confused = {"confusions": naming.confusions()} if naming else {}
        add_results(run.path, rows, {"pictures": shown(found, side) | confused})
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)


def lineage(ready: Plan[PretrainPictures], progress: Progress, before: Checkpoint) -> Data:
    """What the model comes from: its start, its data, and how long it was trained on them."""
    settings = ready.settings
    data = {str(Path(path).name): len(ready.gathered.training) for path in settings.data.paths}
    story = {"verb": settings.verb, "start": ready.start.name, "pictures": data}
    counts = {"steps": progress.step, "tokens": progress.tokens, "best_step": progress.best_step, "seed": settings.seed}
    return story | counts | ({"before": before.lineage} if ready.start.where else {})
