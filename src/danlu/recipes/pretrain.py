"""`danlu pretrain`: from text to a model, or further; and on where a run was interrupted."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from danlu.checkpoint import Checkpoint
from danlu.data.corpus import Corpus
from danlu.data.division import divide
from danlu.data.texts import texts
from danlu.data.sources import fingerprints, sources
from danlu.errors import DanluError
from danlu.evaluate.score import TokenScore, score_batches
from danlu.files import replace_json
from danlu.generate.engine import Engine
from danlu.models.build import build as build_model
from danlu.models.families import Family
from danlu.recipes.call import Answer, Call, Stopped
from danlu.recipes.defaults import say
from danlu.recipes.loading import Part, loading
from danlu.recipes.objectives import Chosen, choose, marker_tokens
from danlu.recipes.plan import Plan, plan
from danlu.recipes.runs import Run, add_results
from danlu.recipes.samples import Sampler, beginnings, watched
from danlu.recipes.stages import Pretrain
from danlu.recipes.start import find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import train_tokenizer
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import TokenObjective
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer
from danlu.voice import Voice

CHECKED = 200  # batches that an evaluation while training looks at, at most


def pretrain(call: Call) -> Answer:
    """The verb."""
    ready = plan(call)
    if call.dry_run:
        return call.rehearse(ready.settings)
    run, voice = ready.run, call.voice
    if run.state == "finished":
        voice.say(
            f"{run} is finished; nothing to do. Try: danlu chat {run}",
            f"{run} 已完成，无需再做。可试：danlu chat {run}",
        )
        return Answer(run.path, run.metrics, run.files())
    say(voice, ready.start.name, ready.start.config, ready.text, ready.settings.model_dump())
    fresh = run.state == "empty"
    if fresh:
        run.write_config(ready.settings.model_copy(update={"output": str(run), "lang": None}))
    try:
        carry_out(ready, voice)
    except KeyboardInterrupt:
        raise Stopped(f"danlu pretrain {run}") from None
    except DanluError:
        if fresh:
            run.abandon()
        raise
    voice.say(
        f"done: {run}  (report: {run.path / 'report.html'})\nnext:  danlu chat {run}",
        f"完成：{run}（报告：{run.path / 'report.html'}）\n下一步：  danlu chat {run}",
    )
    return Answer(run.path, run.metrics, run.files())


def carry_out(ready: Plan, voice: Voice) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    settings, run = ready.settings, ready.run
    device = find_device(settings.device)
    checkpoint = begin(ready, voice)
    tokenizer = checkpoint.tokenizer
    assert tokenizer is not None
    division = divide(settings.data, tokenizer, voice)
    replace_json(run.path / "ledger.json", division.ledger.to_json())
    chosen = chosen_for(settings, ready.start.family)
    loaded = loading(settings, division, tokenizer, ready.start.family, chosen)
    objective = TokenObjective(settings.loss, chosen.weights, chosen.losses)
    held = division.validation or division.training
    prompts = list(settings.samples.prompts) or beginnings(
        held, tokenizer, ready.start.family.kind, settings.samples.count
    )
    sampler = Sampler(Engine(checkpoint), prompts, settings.samples, run.path / "samples.json")
    held_out = loaded.held_out
    evaluate = (
        watched(HeldOut(objective, held_out, CHECKED), sampler, lambda: trainer.progress.step) if held_out else None
    )
    trainer = Trainer(
        checkpoint.model, objective, loaded.training, settings.train, run.path,
        voice=voice, seed=settings.seed, evaluate=evaluate, device=device,
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu pretrain {run}")
    replace(checkpoint, lineage=lineage(ready, progress, checkpoint)).save(run.model)
    if "tokens" in chosen.losses.values():
        measure(run, checkpoint, loaded.parts)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def begin(ready: Plan, voice: Voice) -> Checkpoint:
    """The model before its first step, with its tokenizer."""
    settings, start = ready.settings, ready.start
    if start.where is not None:
        return Checkpoint.load(start.where)
    tokenizer = make_tokenizer(settings, start.family, voice, ready.run.path / "checkpoints" / "tokenizer")
    config = start.with_vocabulary(tokenizer.vocabulary, settings.model)
    model = build_model(config, "cpu", settings.seed)
    return Checkpoint(start.family, config, model, tokenizer)


def make_tokenizer(settings: Pretrain, family: Family, voice: Voice, kept: Path | None = None) -> Tokenizer:
    """The one that was given, the one an interrupted run has `kept`, or a fresh one."""
    if settings.tokenizer.path:
        return Tokenizer.read(settings.tokenizer.path)
    if kept and (kept / "special_tokens_map.json").is_file():  # written last
        return Tokenizer.read(kept)
    extra = (*marker_tokens(chosen_for(settings, family).markers), *family.extra_tokens)
    read = texts(settings.data, voice.silenced())
    tokenizer = train_tokenizer(read, settings.tokenizer, family.specials, voice, extra=extra)
    if kept:
        tokenizer.write(kept)
    return tokenizer


def lineage(ready: Plan, progress: Progress, before: Checkpoint) -> Data:
    """What the model comes from: its start, the hashes of its data, and how long it was trained on them."""
    settings = ready.settings
    found = sources((*settings.data.paths, *settings.data.validation), settings.data)
    story = {"verb": "pretrain", "start": ready.start.name, "data": dict(fingerprints(found))}
    counts = {"steps": progress.step, "tokens": progress.tokens, "best_step": progress.best_step, "seed": settings.seed}
    return story | counts | ({"before": before.lineage} if ready.start.where else {})


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
