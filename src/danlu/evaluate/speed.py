"""How long a model takes for one batch: several models in turn, so that what else the machine does hits all alike."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from danlu.generate.rest import at_rest
from danlu.nn.quantized import Codes

SECONDS, LEAST, MOST = 1.0, 5, 400


@dataclass(frozen=True)
class Latency:
    """Seconds: low (the 10th percentile, which other work on the machine moves least) and middle (the median)."""

    low: float
    middle: float
    rows: int
    length: int
    threads: int

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def latencies(
    models: Mapping[str, nn.Module], inputs: Mapping[str, Tensor], threads: int, seconds: float = SECONDS
) -> dict[str, Latency]:
    """Each model's time for one forward pass of these inputs, taken in turns over `seconds` a model."""
    times: dict[str, list[float]] = {name: [] for name in models}
    first = next(iter(inputs.values()))
    with _threads(threads):
        for model in models.values():  # what is done once at first
            _once(model, inputs)
            _once(model, inputs)
        started = time.perf_counter()
        while min(map(len, times.values())) < LEAST or (
            time.perf_counter() - started < seconds * len(models) and len(next(iter(times.values()))) < MOST
        ):
            for name, model in models.items():
                times[name].append(_once(model, inputs))
    return {
        name: Latency(float(np.quantile(some, 0.1)), float(np.median(some)), len(first), first.shape[-1], threads)
        for name, some in times.items()
    }


def kernels_of(model: nn.Module) -> dict[str, str]:
    """What multiplies in each coded layer, by path; a portable way is called so."""
    return {
        path: str(getattr(module, "kernel", type(module).__name__))
        for path, module in model.named_modules()
        if isinstance(module, Codes)
    }


def _once(model: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    with at_rest(model) as device:
        moved = {name: each.to(device) for name, each in inputs.items()}
        started = time.perf_counter()
        model(**moved)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
