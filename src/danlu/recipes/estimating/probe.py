"""This machine, measured: a few real steps in a process of their own, on some of the text.

A model that would take too long is measured with one and with two layers, and the rest is reckoned from the
difference: blocks are alike.
"""

import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from danlu.checkpoint import Checkpoint
from danlu.data.division import divide
from danlu.data.settings import DataSettings
from danlu.data.texts import texts
from danlu.errors import DanluError
from danlu.generate.engine import Engine
from danlu.models.build import build as build_model
from danlu.models.build import parameters
from danlu.recipes.estimating.arithmetic import stacks
from danlu.recipes.pretraining.defaults import operations
from danlu.recipes.pretraining.loading import loading
from danlu.recipes.pretraining.plan import Plan, plan
from danlu.recipes.pretraining.pretrain import chosen_for, make_tokenizer, objective_of
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.machine import available_memory, peak_memory
from danlu.recipes.runs.samples import Sampler, beginnings
from danlu.recipes.starting.halves import speaking
from danlu.recipes.starting.start import find_device
from danlu.settings import Data, merge
from danlu.train.evaluation import HeldOut
from danlu.train.hardware import autocast
from danlu.train.memory import hold_memory
from danlu.train.trainer import Trainer
from danlu.voice import Voice

SAMPLE = 1_000_000  # characters of the text that are looked at
QUICK = 2e11  # floating-point operations of a piece up to which the whole model is measured
STEPS = 3  # at least
CHILD = "from danlu.recipes.estimating.probe import main; main()"


@dataclass(frozen=True)
class Measured:
    """Seconds of each part of a run, bytes of the process at its largest and before there was a model."""

    memory: float
    base: float
    piece: float  # forward and backward pass of the rows taken at once
    update: float  # the rest of a step
    evaluation: float  # a batch that was held out
    samples: float  # what the model is asked after each evaluation
    saving: float
    tokens: float  # a character of the text
    held_out: float  # batches, of a character of the text

    def deeper(self, other: "Measured", layers: int) -> "Measured":
        """One layer and two (`other`) -> `layers` of them. What does not depend on layers may not shrink."""
        grown = {"memory", "piece", "update", "evaluation", "samples", "saving"}
        values = {
            name: one + (layers - 1) * max(0.0, getattr(other, name) - one) if name in grown else one
            for name, one in asdict(self).items()
        }
        return Measured(**values)


def probe(ready: Plan, seconds: float) -> Measured:
    """What a planned run takes here. E1811 where even the trial fails."""
    settings, config = ready.settings, ready.start.config
    train, length = settings.train, settings.data.length or 1024
    rows = min(train.micro or train.batch, train.batch)
    depth = max(stack.depth for stack in stacks(config))
    slow = rows * length * operations(config) > QUICK * max(1.0, seconds)
    large = slow or 16 * parameters(config) > available_memory()
    with tempfile.TemporaryDirectory(prefix="danlu-estimate-") as place:
        sample = _sample(ready, Path(place))
        if not large or depth <= 2:
            return _measured(ready, sample, None, seconds)
        one, two = (_measured(ready, sample, layers, seconds / 2) for layers in (1, 2))
        return one.deeper(two, depth)


def _sample(ready: Plan, place: Path) -> Data:
    """Settings for some of the text: its beginning; all of it where that is little, or where sides belong together."""
    data = ready.settings.data
    everything = {"data": {"cache": str(place)}}
    if ready.text.bytes <= 2 * SAMPLE or data.parallel or any(source.parallel for source in data.sources.values()):
        return everything
    path, size = place / "sample.jsonl", 0
    with path.open("w", encoding="utf8") as file:
        for text in texts(data, Voice(quiet=True)):
            size += file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            if size >= SAMPLE:
                break
    kept = {"length": data.length, "held_out": data.held_out}
    return {"data": DataSettings(paths=(str(path),), cache=place).model_dump(mode="json") | kept}


def _measured(ready: Plan, sample: Data, layers: int | None, seconds: float) -> Measured:
    """In a process of its own, so that its memory can be told from ours."""
    asked = {
        "settings": merge(ready.settings.model_dump(mode="json"), sample), "seconds": seconds, "layers": layers,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DanluError("E1811", found=done.stderr.strip()[-300:])
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """The body of the trial's process: a question on stdin, an answer on stdout."""
    asked: dict[str, Any] = json.loads(sys.stdin.read())
    torch.set_num_threads(asked["threads"])
    voice = Voice(quiet=True)
    given = {name: value for name, value in asked["settings"].items() if name != "verb" and value is not None}
    with tempfile.TemporaryDirectory(prefix="danlu-probe-") as place:
        ready = plan(Call((), given | {"output": place}, voice), limited=False)
        found = trial(ready, asked["layers"], asked["seconds"], Path(place), voice)
    print(json.dumps({field.name: found[field.name] for field in fields(Measured)}))


def trial(ready: Plan, layers: int | None, seconds: float, place: Path, voice: Voice) -> dict[str, float]:
    """Train a little, and take the time of everything that a run does again and again. layers: of each stack, if not
    all."""
    settings, family, config = ready.settings, ready.start.family, ready.start.config
    device = find_device(settings.device)
    if ready.start.where:
        tokenizer = Checkpoint.load(ready.start.where).tokenizer
        assert tokenizer is not None
    else:  # it may have tokens of its own beside the text's, such as T5's markers of spans
        wanted = settings.tokenizer.model_copy(update={"vocabulary": config.vocabulary})
        tokenizer = make_tokenizer(settings.model_copy(update={"tokenizer": wanted}), family, voice)
        config = ready.start.with_vocabulary(tokenizer.vocabulary, settings.model)
    if layers:
        shallow = {name: s.model_copy(update={"depth": layers}) for name, s in config if s in stacks(config)}
        config = config.model_copy(update=shallow)
    checkpoint = Checkpoint(family, config, build_model(config, "cpu", 0), tokenizer)
    division = divide(settings.data, tokenizer, voice)
    train = settings.train
    pieces = -(-train.batch // (train.micro or train.batch))
    brief = train.model_copy(update={
        "batch": min(train.batch, 2 * (train.micro or train.batch)), "accumulate": 1, "steps": 1000, "epochs": None,
        "minutes": None, "first_batch": None, "lengths": {}, "save_every": None, "tensorboard": False,
    })  # fmt: skip
    chosen = chosen_for(settings, family)

    def loaded(changed: Any) -> Any:
        short = settings.model_copy(update={"train": changed})
        return loading(short, division, tokenizer, family, chosen, ready.start.languages)

    objective = objective_of(settings, chosen)
    base = peak_memory()
    hold_memory()
    trainer = Trainer(checkpoint.model, objective, loaded(brief).training, brief, place, voice=voice, device=device)
    trainer.metrics.take_up(0, 0)
    updates: list[float] = []
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda *_: updates.append(timed(step))  # type: ignore[method-assign, assignment]
    trainer.model.train()
    steps: list[float] = []
    start = time.perf_counter()
    with voice.progress("", "", None) as bar:
        while len(steps) <= STEPS or time.perf_counter() - start < seconds:
            steps.append(timed(lambda: trainer._step(bar)))
    update, whole = middle(updates[1:]), middle(steps[1:])
    several = min(2, pieces)
    found = {"piece": max(0.0, whole - update) / several, "update": update, "evaluation": 0.0, "samples": 0.0}
    held = loaded(train).held_out
    trainer.model.eval()
    if held:
        measure = HeldOut(objective, held, 2)
        with torch.no_grad(), autocast(trainer.device, trainer.precision):
            measure(trainer.model)
            found["evaluation"] = timed(lambda: measure(trainer.model)) / measure.batches
        prompts = list(settings.samples.prompts) or beginnings(
            division.training, tokenizer, family.kind, settings.samples.count
        )
        sampler = Sampler(Engine(speaking(checkpoint)), prompts, settings.samples, place / "samples.json")
        found["samples"] = timed(lambda: sampler.ask(0))
    if train.best:
        trainer.state.keep_best()
    found["saving"] = timed(lambda: trainer.checkpoints.save(1, trainer.state.tensors(), {}))
    characters = max(1, ready.text.bytes)
    size = division.training.size + (division.validation.size if division.validation else 0)
    counts = {"tokens": size / characters, "held_out": (held.steps_per_epoch if held else 0) / characters}
    gc.collect()
    return found | counts | {"memory": float(peak_memory()), "base": float(base)}


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
