"""What training on pictures takes on this machine, by a trial on rows of the right shape.

Nothing is decoded: pictures are noise, captions and questions as long as the first ones are in letters.
"""

import time
from typing import Any

import torch
from torch import Tensor, nn

from danlu.data.batch import IGNORED, Batch
from danlu.data.pictures.prepare import Gathered
from danlu.models.build import build, parameters
from danlu.models.dual import DualConfig
from danlu.models.multimodal import MultimodalConfig
from danlu.recipes.estimating.arithmetic import MOMENTS, Memory, states
from danlu.recipes.estimating.needs import Needs
from danlu.recipes.pictures.plan import Plan
from danlu.recipes.pictures.plan import plan as plan_towers
from danlu.recipes.pictures.speaking.learn import objective_of
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.recipes.pictures.speaking.stage import plan as plan_seeing
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.machine import peak_memory
from danlu.recipes.starting.start import find_device
from danlu.settings import Settings
from danlu.train.contrast import PairObjective
from danlu.train.distributed import World
from danlu.train.hardware import autocast, compute_precision
from danlu.train.objectives import Objective

LETTERS = 4  # of a token, about
SEEN = 200  # pairs whose texts are looked at
TWICE = 1.3  # of a batch in pieces, which are embedded once more without gradients


def plan(call: Call, kind: str) -> Plan[Any]:
    """The run that is asked about."""
    return plan_towers(call) if kind == "dual" else plan_seeing(call)


def estimate(ready: Plan[Any], calibrate: float) -> Needs:
    """Memory, disk and time of a planned run. calibrate: seconds of measuring."""
    settings, config, train = ready.settings, ready.start.config, ready.settings.train
    assert isinstance(config, DualConfig | MultimodalConfig)
    device = find_device(settings.device)
    model = build(config, device).train()
    objective: Objective
    if isinstance(config, DualConfig):
        objective = PairObjective(settings.objective or "contrastive", settings.loss)
    else:
        objective = objective_of(settings, World())
    rows = min(train.micro or train.batch, train.batch)
    batch = _batch(config, ready.gathered, settings, rows).to(device)
    base, kept = peak_memory(), 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    precision = compute_precision(train.precision, device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _piece(model, objective, batch, device, precision)
    times, began = 0, time.monotonic()
    while not times or time.monotonic() - began < calibrate:
        _piece(model, objective, batch, device, precision)
        times += 1
    piece = (time.monotonic() - began) / times
    pieces = train.accumulate * -(-train.batch // rows)
    step = pieces * piece * (TWICE if isinstance(config, DualConfig) and rows < train.batch else 1)
    steps = train.steps or round((train.epochs or 1) * len(ready.gathered.training) / (train.batch * train.accumulate))
    if train.minutes:
        steps = max(1, int(60 * train.minutes / step))
    state = states(config, train, 1)
    best = state.weights if train.best else 0
    memory = Memory(state.weights, state.gradients, state.optimizer, kept, base + best)
    seconds = 60 * train.minutes if train.minutes else steps * step
    return Needs(parameters(config), memory, _disk(ready), steps, step, seconds)


def _piece(model: nn.Module, objective: Objective, batch: Batch, device: torch.device, precision: torch.dtype) -> None:
    with autocast(device, precision):
        found = objective(model, batch)
    torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def _batch(config: DualConfig | MultimodalConfig, gathered: Gathered, settings: Settings, rows: int) -> Batch:
    """Rows as long as those that training will see, of noise."""
    data = settings.data  # type: ignore[attr-defined]
    frames = data.frames if gathered.films else 1
    size = (config.channels, config.size, config.size)
    images = torch.rand(rows, *([frames] if frames > 1 else []), *size)
    some = gathered.training[:SEEN]
    said = [len(pair.captions[0]) for pair in some if pair.captions] or [40]
    length = max(4, min(config.length or 256, sum(said) // len(said) // LETTERS + 2))
    if isinstance(config, DualConfig):
        tokens = torch.ones(rows, length, dtype=torch.long)
        return Batch({"tokens": tokens, "images": images}, {"alike": torch.arange(rows)})
    asked = [sum(len(q) + len(a) for q, a in pair.questions[: data.asked]) // LETTERS + 2 for pair in some]
    room = (config.length or 2048) - frames * config.each - 4
    text = max(4, min(room, max(asked, default=0) if isinstance(settings, TeachSeeing) and any(asked) else length))
    row = [*config.before, *[config.media] * (frames * config.each), *config.after, *[1] * text]
    tokens = torch.tensor([row] * rows)
    targets = torch.full_like(tokens, IGNORED)
    targets[:, -text:] = 1
    told = {"tokens": targets}
    if settings.pairs.weight:  # type: ignore[attr-defined]
        captions = torch.ones(rows, length, dtype=torch.long)
        told |= {"captions": captions, "captions_valid": captions.bool(), "alike": torch.arange(rows)}
    return Batch({"tokens": tokens, "images": images}, told)


def _disk(ready: Plan[Any]) -> int:
    """Checkpoints, the model, and the resized pictures."""
    train, config = ready.settings.train, ready.start.config
    assert isinstance(config, DualConfig | MultimodalConfig)
    weights = 4 * parameters(config)
    checkpoint = weights * (1 + MOMENTS.get(train.optimizer, 2.0) + (1 if train.best else 0))
    frames = ready.settings.data.frames if ready.gathered.films else 1
    pixels = len(ready.gathered.training) * frames * config.size**2 * 3
    return int(checkpoint * (train.keep + 2) + weights + pixels)
