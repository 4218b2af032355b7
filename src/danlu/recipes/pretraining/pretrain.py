"""`danlu pretrain`: from text to a model, or further; and on where a run was interrupted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from danlu.checkpoint import Checkpoint
from danlu.data.corpus import Corpus
from danlu.data.division import Division, divide
from danlu.data.mixing import Drawn
from danlu.data.sources import all_files, fingerprints, sources
from danlu.data.texts import texts
from danlu.evaluate.score import TokenScore, score_batches
from danlu.files import replace_json
from danlu.generate.engine import Engine
from danlu.models.build import build as build_model
from danlu.models.families import Family
from danlu.recipes.estimating.score import record
from danlu.recipes.pictures.plan import kind_of_start
from danlu.recipes.pictures.pretrain import pretrain as pretrain_pictures
from danlu.recipes.pictures.speaking.learn import pretrain as pretrain_seeing
from danlu.recipes.pretraining.defaults import say
from danlu.recipes.pretraining.loading import Loading, Part, loading
from danlu.recipes.pretraining.objectives import Chosen, choose, marker_tokens
from danlu.recipes.pretraining.plan import Plan, plan
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.call import Answer, Call, Stopped
from danlu.recipes.runs.folder import Run, add_results, tidy
from danlu.recipes.runs.performing import perform
from danlu.recipes.runs.samples import Sampler, beginnings, watched
from danlu.recipes.starting.adapting import adapted, rates
from danlu.recipes.starting.halves import joined, save, speaking
from danlu.recipes.starting.start import chosen_tokenizer, find_device, fresh_tokenizer
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer
from danlu.train.distributed import World
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import ReplacedObjective, TokenObjective
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer
from danlu.voice import Voice

CHECKED = 200  # batches that an evaluation while training looks at, at most


def pretrain(call: Call) -> Answer:
    """The verb."""
    kinds = {"dual": pretrain_pictures, "multimodal": pretrain_seeing}
    if own := kinds.get(kind_of_start(call) or ""):
        return own(call)
    further = "next:  danlu chat {run}", "下一步：  danlu chat {run}"
    return perform(call, "pretrain", plan, introduce, carry_out, further)


def introduce(ready: Plan, voice: Voice) -> None:
    """What was inferred."""
    say(voice, ready.start.name, ready.start.config, ready.text, ready.settings.model_dump())


def carry_out(ready: Plan, voice: Voice, world: World | None = None) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    world = world or World()
    settings, run = ready.settings, ready.run
    device = find_device(settings.device)
    checkpoint, division = world.first(lambda: prepared(ready, voice))
    tokenizer = checkpoint.tokenizer
    assert tokenizer is not None
    world.led(lambda: replace_json(run.path / "ledger.json", division.ledger.to_json()))
    chosen = chosen_for(settings, ready.start.family)
    loaded = loading(settings, division, tokenizer, ready.start.family, chosen, ready.start.languages)
    objective = objective_of(settings, chosen)
    held = division.validation or division.training
    prompts = list(settings.samples.prompts) or beginnings(
        held, tokenizer, ready.start.family.kind, settings.samples.count
    )
    prompts = prompts if world.leads else []
    sampler = Sampler(Engine(speaking(checkpoint)), prompts, settings.samples, run.path / "samples.json")
    held_out = loaded.held_out
    evaluate = None
    if held_out:
        measured = HeldOut(objective, held_out, CHECKED, world)
        evaluate = watched(measured, sampler, lambda: trainer.progress.step)
    trainer = Trainer(
        checkpoint.model, objective, loaded.training, settings.train, run.path,
        voice=voice, seed=settings.seed, evaluate=evaluate, device=device, world=world, rates=rates(checkpoint),
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu pretrain {run}")
    world.led(lambda: finish(ready, voice, progress, checkpoint, division, loaded, "tokens" in chosen.losses.values()))
    return run


def prepared(ready: Plan, voice: Voice) -> tuple[Checkpoint, Division]:
    """The model before its first step, and the tokenised text."""
    checkpoint = begin(ready, voice)
    assert checkpoint.tokenizer is not None
    return checkpoint, divide(ready.settings.data, checkpoint.tokenizer, voice)


def finish(
    ready: Plan, voice: Voice, progress: Progress, checkpoint: Checkpoint, division: Division, loaded: Loading,
    tokens: bool,
) -> None:  # fmt: skip
    """Write the model, what was measured on it, the report and the card. tokens: its text can be scored."""
    settings, run = ready.settings, ready.run
    record(run.path, settings, progress.elapsed, find_device(settings.device))
    seen = portions_seen(loaded.training.drawn(progress.step * settings.train.accumulate))
    replace_json(run.path / "ledger.json", division.ledger.to_json() | {"sources": seen})
    save(replace(checkpoint, lineage=lineage(ready, progress, checkpoint)), run.model)
    if tokens:
        measure(run, speaking(checkpoint), loaded.parts)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    tidy(run, settings.train, voice)


def portions_seen(several: Sequence[Drawn]) -> list[Data]:
    """Rows for ledger.json: how much of each source was trained on, and how often."""
    total = sum(each.tokens for each in several)
    return [
        {name: value for name, value in each._asdict().items() if value != ""} | {"share": each.tokens / max(1, total)}
        for each in several
    ]


def begin(ready: Plan, voice: Voice) -> Checkpoint:
    """The model before its first step, with its tokenizer."""
    settings, start = ready.settings, ready.start
    tokenizer = None
    if start.where is None:
        tokenizer = make_tokenizer(settings, start.family, voice, ready.run.tokenizer)
    model, length = first_model(ready, tokenizer), settings.data.length or 1
    return adapted(model, settings.adapt, settings.seed, start.name, voice, length)


def first_model(ready: Plan, tokenizer: Tokenizer | None) -> Checkpoint:
    """The model a run starts from: read, or fresh for this tokenizer."""
    settings, start = ready.settings, ready.start
    if start.where is not None:
        loaded = Checkpoint.load(start.where)
        return joined(loaded) if "replaced" in chosen_for(settings, start.family).weights else loaded
    assert tokenizer is not None
    config = start.with_vocabulary(tokenizer.vocabulary, settings.model)
    return Checkpoint(start.family, config, build_model(config, "cpu", settings.seed), tokenizer)


def make_tokenizer(settings: Pretrain, family: Family, voice: Voice, kept: Path | None = None) -> Tokenizer:
    """The one that was given, the one an interrupted run has `kept`, or a fresh one, learnt from the text."""
    markers = marker_tokens(chosen_for(settings, family).markers)

    def learn() -> Tokenizer:
        return fresh_tokenizer(texts(settings.data, voice.silenced()), settings.tokenizer, family, voice, markers)

    return chosen_tokenizer(settings.tokenizer, kept, learn)


def lineage(ready: Plan, progress: Progress, before: Checkpoint) -> Data:
    """What the model comes from: its start, the hashes of its data, and how long it was trained on them."""
    settings = ready.settings
    found = [*all_files(settings.data), *sources(settings.data.validation, settings.data)]
    story = {"verb": "pretrain", "start": ready.start.name, "data": dict(fingerprints(found))}
    counts = {"steps": progress.step, "tokens": progress.tokens, "best_step": progress.best_step, "seed": settings.seed}
    return story | counts | ({"before": before.lineage} if ready.start.where else {})


def objective_of(settings: Pretrain, chosen: Chosen) -> TokenObjective:
    """What a choice of objectives makes smaller."""
    kind = ReplacedObjective if "replaced" in chosen.weights else TokenObjective
    return kind(settings.loss, chosen.weights, chosen.losses)


def chosen_for(settings: Pretrain, family: Family) -> Chosen:
    """The objectives of a run."""
    return choose(settings.objective, settings.corruption.kind, family)


def measure(run: Run, checkpoint: Checkpoint, parts: Mapping[str, Part]) -> None:
    """The finished model on the held-out text, with intervals, into evaluation.json."""
    for name, part in parts.items():
        if part.held_out and part.validation:
            batches = (part.held_out.batch(step) for step in range(part.held_out.steps_per_epoch))
            data = "held out" if len(parts) == 1 else f"held out, {name}"
            found = measures(score_batches(checkpoint.model, batches), part.validation, part.whole, data)
            add_results(run.path, found)


def measures(score: TokenScore, corpus: Corpus, whole: bool, data: str) -> list[Data]:
    """Loss and what follows from it: rows for evaluation.json. whole: every token was asked for."""
    found = {"loss": score.loss(), "perplexity": score.perplexity()}
    if not whole:
        found["masked_accuracy"] = score.accuracy()
    elif corpus.bytes:
        share = sum(score.targets) / corpus.bytes / math.log(2)
        found["bits_per_byte"] = score.loss().mapped(lambda nats: nats * share)
    return [{"name": name, "data": data, "count": sum(score.targets)} | each.plain() for name, each in found.items()]
