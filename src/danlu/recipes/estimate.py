"""`danlu estimate START DATA`: parameters, memory, disk and time of a run, before it.

Simple arithmetic, said as such. Time comes from a measurement of a few seconds: the real model's forward and backward
pass on random tokens where it is small, the rate of one large matrix product where it is not.
"""

import time
from dataclasses import dataclass

import torch
from pydantic import Field

from danlu.data.batch import IGNORED, Batch
from danlu.models.build import ModelConfig, parameters
from danlu.models.build import build as build_model
from danlu.recipes.call import Answer, Call, Common
from danlu.recipes.defaults import operations, width
from danlu.recipes.machine import available_memory, size_in_words
from danlu.recipes.plan import Plan, plan
from danlu.recipes.start import find_device
from danlu.train.hardware import autocast, compute_precision
from danlu.train.objectives import TokenObjective
from danlu.train.settings import TrainSettings
from danlu.voice import clock

SMALL = 60_000_000  # parameters up to which the model itself is measured
REACHED = 0.5  # of the matrix rate, by a whole training step of a large model
KEPT = 17  # values a block keeps for the backward pass, a token and unit of width (Korthikanti et al. 2022, eq. 1)
LOGITS = 1 << 25  # values of logits that exist at once


class Estimate(Common):
    """calibrate: seconds of measuring."""

    calibrate: float = Field(2.0, gt=0, le=60)


@dataclass(frozen=True)
class Needs:
    """Bytes by part, and seconds."""

    parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    disk: int
    seconds: float

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate(call: Call) -> Answer:
    """The verb."""
    calibrate = call.only("calibrate").build(Estimate).calibrate
    ready = plan(call.without("calibrate"), limited=False)
    if call.dry_run:
        return call.rehearse(ready.settings)
    needs, pick = needed(ready, calibrate), call.voice.pick
    facts = (
        (pick("parameters", "参数量"), f"{needs.parameters:,}"),
        (
            pick("memory", "内存"),
            f"{size_in_words(needs.memory)} ({size_in_words(available_memory())} {pick('free', '可用')})",
        ),
        (pick("  weights", "  权重"), size_in_words(needs.weights)),
        (pick("  gradients", "  梯度"), size_in_words(needs.gradients)),
        (pick("  optimizer", "  优化器"), size_in_words(needs.optimizer)),
        (pick("  activations", "  激活值"), size_in_words(needs.activations)),
        (pick("disk", "磁盘"), size_in_words(needs.disk)),
        (pick("time", "时间"), clock(needs.seconds)),
    )
    for name, value in facts:
        call.voice.fact(name, value)
    return Answer(metrics=vars(needs) | {"memory": needs.memory})


def needed(ready: Plan, calibrate: float) -> Needs:
    """What a planned run will take."""
    settings, config = ready.settings, ready.start.config
    train, count = settings.train, parameters(config)
    length = settings.data.length or 1024
    moments = 2 if train.optimizer == "adamw" else 1
    micro = min(train.micro or train.batch, train.batch)
    device = find_device(settings.device)
    half = compute_precision(train.precision, device) == torch.bfloat16
    activations = micro * length * kept(config, train) * (2 if half else 4) + LOGITS * 4
    steps = train.steps or int((train.epochs or 1) * ready.text.tokens / (train.batch * train.accumulate * length)) or 1
    tokens = steps * train.batch * train.accumulate * length
    seconds = 60 * train.minutes if train.minutes else tokens / rate(config, micro, length, device, half, calibrate)
    checkpoint = 4 * count * (1 + moments)
    shards = ready.text.tokens * (2 if config.vocabulary <= 1 << 16 else 4)
    disk = checkpoint * (train.keep + 2) + 4 * count * 2 + shards
    return Needs(count, 4 * count, 4 * count, 4 * count * moments, activations, disk, seconds)


def kept(config: ModelConfig, train: TrainSettings) -> int:
    """Values kept for the backward pass, for each token."""
    depth = config.transformer.depth if config.kind == "language" else config.encoder.depth + config.decoder.depth
    return width(config) * depth * (2 if train.recompute else KEPT)


def rate(config: ModelConfig, rows: int, length: int, device: torch.device, half: bool, seconds: float) -> float:
    """Tokens a second of a training step on this machine."""
    if parameters(config) > SMALL:
        return REACHED * matrix_rate(device, half, seconds) / operations(config)
    model, objective = build_model(config, device), TokenObjective()
    tokens = torch.randint(config.vocabulary, (min(rows, 8), length), device=device)
    targets = tokens if config.causal else torch.where(torch.rand(tokens.shape, device=device) < 0.15, tokens, IGNORED)
    given = {"source": tokens, "target": tokens} if config.kind == "sequence_to_sequence" else {"tokens": tokens}
    batch, done, start = Batch(given, {"tokens": targets}), 0, 0.0
    while start == 0.0 or time.perf_counter() - start < seconds:
        with autocast(device, torch.bfloat16 if half else torch.float32):
            loss = sum(objective(model, batch).values())
        assert isinstance(loss, torch.Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        if start == 0.0:  # the first pass is for warming up
            start = time.perf_counter()
        else:
            done += tokens.numel()
    return done / (time.perf_counter() - start)


def matrix_rate(device: torch.device, half: bool, seconds: float) -> float:
    """Floating-point operations a second of a large matrix product."""
    side = 2048
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16 if half else torch.float32)
    right, done = torch.randn_like(left), 0
    (left @ right).sum().item()
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        (left @ right).sum().item()
        done += 2 * side**3
    return done / (time.perf_counter() - start)
