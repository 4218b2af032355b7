"""A chain of compressing steps: each stands in a folder of its own once it is done, and is not done again."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from danlu.checkpoint import Checkpoint
from danlu.compress.prune import Prune
from danlu.compress.quantize import Quantize
from danlu.compress.vocabulary import chosen, counted, cut, cut_rows
from danlu.errors import DanluError
from danlu.files import replace_json
from danlu.recipes.compressing.healing import Within, heal
from danlu.recipes.compressing.measuring import Original, measured
from danlu.recipes.compressing.stage import CalibrationSettings, Step
from danlu.recipes.compressing.subject import Subject
from danlu.settings import Data
from danlu.tasks.metrics import MEASURES
from danlu.text.pruning import pruned
from danlu.train.distill import Distil
from danlu.voice import Voice

DONE = "step.json"
ORDER = "tokens"  # of a step that cut the vocabulary: which were kept


@dataclass(frozen=True)
class Held:
    """A chain so far. teacher: what students learn from and are compared with; it reads the tokens that they read."""

    checkpoint: Checkpoint
    teacher: Checkpoint
    subject: Subject

    def original(self, first: Original) -> Original:
        return replace(first, model=self.teacher.model, subject=self.subject)


@dataclass(frozen=True)
class Way:
    """How steps are carried out. advice: the command that goes on with what was interrupted. brief: size and quality
    are measured at the end alone."""

    calibration: CalibrationSettings
    voice: Voice
    device: torch.device
    seed: int = 0
    advice: str = ""
    brief: bool = False


def carry(steps: Sequence[Step], held: Held, first: Original, folder: Path, way: Way) -> tuple[Held, list[Data]]:
    """The chain's end, and a record of each step. What is in the folder already is taken from there; a record holds the
    step's settings, its seconds, and what was measured after it."""
    records: list[Data] = []
    laid = list(laid_out(steps))
    for number, (step, within) in enumerate(laid, 1):
        place = folder / f"{number:02d}-{step.kind}"
        done = _done(place, step, within)
        if done is None:
            en, zh = f"step {number} of {len(laid)}: {told(step)}", f"第 {number}/{len(laid)} 步：{told(step)}"
            way.voice.say(en, zh)
            started = time.monotonic()
            held, more = _taken(step, within, held, place, way)
            held.checkpoint.save(place / "model")
            seconds = time.monotonic() - started
            found: Data = {}
            if not way.brief or number == len(laid):
                original = held.original(first)
                model, saved = held.checkpoint.model, place / "model"
                found = measured(model, held.subject, original, saved, way.voice, brief=way.brief)
            done = _settings(step, within) | {"seconds": round(seconds, 2), "measured": found} | more
            replace_json(place / DONE, done)
        else:
            held = _again(held, done, place)
        records.append(done)
        _say(done, way.voice)
    return held, records


def laid_out(steps: Sequence[Step]) -> Iterator[tuple[Step, Within]]:
    """Steps in the order they are taken: pruning in rounds is followed each time by a part of the distilling after it,
    pruning by movement happens within that, and so does the rounding of codes that are learned before they are made.

    E2405 where a step that happens within distilling has none beside it."""
    waiting = list(steps)
    while waiting:
        step = waiting.pop(0)
        if isinstance(step, Quantize) and step.trains:
            raise DanluError("E2405", found=step.method)
        if isinstance(step, Distil) and waiting and isinstance(waiting[0], Quantize) and waiting[0].trains:
            yield step, waiting[0]
            yield waiting.pop(0), None
            continue
        if not isinstance(step, Prune) or (step.rounds == 1 and not step.trains):
            yield step, None
            continue
        if not waiting or not isinstance(waiting[0], Distil):
            if step.trains:
                raise DanluError("E2405", found="movement")
            yield step, None
            continue
        healing = waiting.pop(0)
        assert isinstance(healing, Distil)
        for share in shares(step):
            part = step.model_copy(update={"share": share, "rounds": 1})
            if step.trains:
                yield _shortened(healing, step.rounds), part
            else:
                yield part, None
                yield _shortened(healing, step.rounds), None


def shares(step: Prune) -> list[float]:
    """What goes in each round. Of weights the share of all of them, rising fast at first (Zhu and Gupta 2017, eq. 1);
    of what is cut out the share of what is left."""
    if step.part == "weights":
        return [round(step.share * (1 - (1 - at / step.rounds) ** 3), 6) for at in range(1, step.rounds + 1)]
    return [round(1 - (1 - step.share) ** (1 / step.rounds), 6)] * step.rounds


def _shortened(healing: Distil, rounds: int) -> Distil:
    train = healing.train
    lengths: dict[str, Any] = {}
    if train.steps:
        lengths["steps"] = max(1, train.steps // rounds)
    elif train.minutes:
        lengths["minutes"] = train.minutes / rounds
    else:
        lengths["epochs"] = (train.epochs or 1.0) / rounds
    told = train.model_dump(exclude_unset=True) | lengths
    return healing.model_copy(update={"train": type(train)(**told)})


def _taken(step: Step, within: Within, held: Held, place: Path, way: Way) -> tuple[Held, Data]:
    """A step carried out, and what has to be known to take it again."""
    checkpoint, subject = held.checkpoint, held.subject
    story = (*checkpoint.changes, *([plain(within)] if isinstance(within, Prune) else []), plain(step))
    if isinstance(step, Distil):
        teacher = held.teacher if step.teacher is None else Checkpoint.load(step.teacher)
        learnt = heal(
            checkpoint, teacher, subject, step, place, way.voice,
            seed=way.seed, device=way.device, within=within, advice=way.advice,
        )  # fmt: skip
        learnt.model.to("cpu")
        return replace(held, checkpoint=replace(learnt, changes=story)), {}
    if isinstance(step, Prune) and step.part == "vocabulary":
        return _fewer_tokens(step, held, story)
    needs = step.needs
    dtype = torch.bfloat16 if way.calibration.bf16 else None
    calibration = subject.calibration(way.voice, way.calibration.rows, dtype) if needs else None
    torch.manual_seed(way.seed)
    model = step.apply(checkpoint.model.to(way.device), calibration, way.voice, way.seed).to("cpu")
    return replace(held, checkpoint=replace(checkpoint, model=model, config=model.config, changes=story)), {}


def _fewer_tokens(step: Prune, held: Held, story: tuple[Data, ...]) -> tuple[Held, Data]:
    """Model, tokenizer, teacher and rows, all with the same tokens."""
    tokenizer = held.checkpoint.tokenizer
    if tokenizer is None:
        raise DanluError("E2405", found="vocabulary")
    loader = held.subject.stream("training", 256, 0, shuffle=False)
    counts = counted(loader.batch(at).inputs for at in range(loader.steps_per_epoch))
    kept = chosen(counts, held.checkpoint.config.vocabulary, step.keep, step.share)
    order = pruned(tokenizer, kept)[1]
    model, smaller = cut(held.checkpoint.model, tokenizer, kept)
    checkpoint = replace(held.checkpoint, model=model, config=model.config, tokenizer=smaller, changes=story)
    return _with_tokens(held, checkpoint, order), {ORDER: order}


def _with_tokens(held: Held, checkpoint: Checkpoint, order: list[int]) -> Held:
    teacher = cut_rows(held.teacher.model, order)
    told = replace(held.teacher, model=teacher, config=teacher.config, tokenizer=checkpoint.tokenizer)
    return Held(checkpoint, told, held.subject.on(checkpoint))


def _settings(step: Step, within: Within) -> Data:
    return {"step": step.model_dump(mode="json")} | ({"within": within.model_dump(mode="json")} if within else {})


def _done(place: Path, step: Step, within: Within) -> Data | None:
    """The record of a step that was taken before; none where its settings were others."""
    try:
        found: Data = json.loads((place / DONE).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
    return found if _settings(step, within).items() <= found.items() else None


def _again(held: Held, done: Data, place: Path) -> Held:
    """What a step left behind before."""
    checkpoint = Checkpoint.load(place / "model")
    checkpoint = replace(checkpoint, lineage=held.checkpoint.lineage)
    return _with_tokens(held, checkpoint, done[ORDER]) if ORDER in done else replace(held, checkpoint=checkpoint)


def plain(step: Step) -> Data:
    """What differs from a step's defaults, as plain data that reads back as the step."""
    own = step.plain() if isinstance(step, Distil) else step.model_dump(mode="json", exclude_defaults=True)
    return {"kind": step.kind} | own


def told(step: Step) -> str:
    """A step in a few words: its kind, and what differs from the defaults."""
    data = {name: value for name, value in plain(step).items() if name not in ("kind", "train")}
    return " ".join([step.kind, *(f"{name}={value}" for name, value in data.items())])


def _say(done: Data, voice: Voice) -> None:
    found = done["measured"]
    if not found:
        return
    size, quality = found["size"], found["quality"]
    measure = MEASURES[quality["name"]]
    bits = f"{(size['file'] or size['bytes']) / 1e6:.1f} MB, {size['weights']:,} × {size['bits']:.2f} bit"
    worth = measure.write(quality["value"])
    voice.say(f"  {bits}, {measure.en} {worth} ({found['drop']:+.2%} lost)",
              f"  {bits}，{measure.zh} {worth}（损失 {found['drop']:+.2%}）")  # fmt: skip
