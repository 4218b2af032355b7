"""What a compressed model is: its size, its worth, its distance from the original, its speed here."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from danlu.data.batch import Batch
from danlu.evaluate.agreement import agree, layer_errors
from danlu.evaluate.size import size_of
from danlu.evaluate.speed import kernels_of, latencies
from danlu.kernels import status
from danlu.recipes.compressing.stage import MeasureSettings
from danlu.recipes.compressing.subject import Quality, Subject
from danlu.recipes.evaluating.judging import plain_comparison
from danlu.settings import Data
from danlu.voice import Voice

USUAL_LENGTH = 128
AGREED = 256  # rows on which two models' answers are compared
PROBE = """
import json, resource, sys, torch
from danlu.checkpoint import Checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
torch.set_num_threads(1)
model = Checkpoint.load(sys.argv[1]).model
told = json.loads(sys.argv[2])
inputs = {name: torch.zeros(shape, dtype=getattr(torch, kind)) for name, (shape, kind) in told.items()}
with torch.inference_mode():
    model(**inputs)
print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "before": before}))
"""


@dataclass(frozen=True)
class Original:
    """What others are held against. model: reads the tokens that they read."""

    model: nn.Module
    subject: Subject
    quality: Quality


def measured(
    model: nn.Module, subject: Subject, original: Original, folder: Path | None, voice: Voice, brief: bool = False
) -> Data:
    """Size and quality on the rows to choose by; unless it is to be brief, agreement and the error of each layer."""
    quality = subject.quality(model, "validation", voice)
    found: Data = {
        "size": size_of(model, folder).plain(), "quality": quality.result,
        "drop": quality.loss_against(original.quality),
    }  # fmt: skip
    if model is not original.model and not brief:
        batches = subject.batches("validation", AGREED)
        logits = subject.logits
        found["agreement"] = agree(original.model, model, batches, logits).plain()
        found["errors"] = layer_errors(original.model, model, _first(batches).inputs)
    return found


def timed(models: Mapping[str, nn.Module], subject: Subject, settings: MeasureSettings) -> dict[str, list[Data]]:
    """By name: latencies of one batch with one thread and with all, taken in turns."""
    length = settings.length or USUAL_LENGTH
    inputs = subject.sample_inputs(settings.batch, length)
    every = (settings.threads,) if settings.threads else sorted({1, torch.get_num_threads()})
    found: dict[str, list[Data]] = {name: [] for name in models}
    for threads in every:
        for name, each in latencies(models, inputs, threads, settings.seconds).items():
            found[name].append(each.plain())
    return found


def tested(model: nn.Module, subject: Subject, original: Original, first: Quality, voice: Voice) -> Data:
    """On rows that nothing was chosen by: quality, and the comparison with the original's (`first`)."""
    quality = subject.quality(model, "test", voice)
    return {
        "quality": quality.result, "original": first.result, "drop": quality.loss_against(first),
        "comparison": plain_comparison(subject.compare(first, quality)),
    }  # fmt: skip


def memory_of(folder: Path, subject: Subject, settings: MeasureSettings) -> Data | None:
    """Peak memory of a process that loads the model and runs one batch, and what it had before, in bytes; None where
    no such process could be started."""
    inputs = subject.sample_inputs(settings.batch, settings.length or USUAL_LENGTH)
    told = {name: (list(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in inputs.items()}
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(folder), json.dumps(told)], capture_output=True, text=True, timeout=300,
            check=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return {"peak": found["peak"] * unit, "model": (found["peak"] - found["before"]) * unit}


def kernels(model: nn.Module) -> Data:
    """What multiplies coded layers here, and in which of them."""
    layers = kernels_of(model)
    path, why = status()
    return {"here": path, "why": why, "layers": layers} if layers else {}


def _first(batches: list[Batch]) -> Batch:
    return batches[0]
