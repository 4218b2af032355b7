"""What share of a GPU's arithmetic does training the largest GPT that fits reach, compile on?

`python -m benchmarks.gpu_utilisation [--length 2048] [--steps 12]`, on a machine with one CUDA GPU: without one it says
so and ends. `--self-test` checks the arithmetic on a CPU, in seconds.

Model FLOPs utilisation is Chowdhery et al.'s (2022, appendix B): tokens/s x (6 N + 12 L H Q T) / peak, dense; what is
computed again does not count. Beside it stands the share with half the attention, which is what a causal model needs.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.answer import Answer
from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.models.build import ModelConfig, build, parameters
from danlu.models.families import fresh
from danlu.recipes.estimating.arithmetic import stacks, work
from danlu.recipes.estimating.machines import Machine, machines, on_name
from danlu.recipes.pretraining.defaults import operations
from danlu.train.hardware import compiled, recomputed
from danlu.train.objectives import TokenObjective
from danlu.train.settings import TrainSettings
from danlu.train.trainer import Trainer
from danlu.voice import Voice

BAR = 0.5
VOCABULARY, STEP_TOKENS, WARMING = 50304, 1 << 18, 3
SIZES = ("6.7b", "2.7b", "1.3b", "760m", "350m", "125m")  # GPT-3's, table 2.1 of Brown et al. 2020


class Random:
    """Batches of random tokens, made before they are wanted."""

    steps_per_epoch = 1 << 20

    def __init__(self, rows: int, length: int, device: str):
        tokens = torch.randint(VOCABULARY, (rows, length + 1), device=device)
        self.one = Batch({"tokens": tokens[:, :-1].contiguous()}, {"tokens": tokens[:, 1:].contiguous()})

    def batch(self, step: int) -> Batch:
        return self.one

    def stream(self, first: int) -> Iterator[Batch]:
        while True:
            yield self.one


def palm(config: ModelConfig, length: int) -> float:
    """Operations a token: 6 a weight of a product, 12 L H Q T for attention."""
    return operations(config) + sum(12 * s.depth * s.attention.heads * s.head_size * length for s in stacks(config))


def shape(size: str, length: int) -> ModelConfig:
    """GPT of one of GPT-3's sizes, every layer dense."""
    width, depth, heads = {
        "125m": (768, 12, 12), "350m": (1024, 24, 16), "760m": (1536, 24, 16), "1.3b": (2048, 24, 16),
        "2.7b": (2560, 32, 32), "6.7b": (4096, 32, 32),
    }[size]  # fmt: skip
    return fresh("gpt2-small", VOCABULARY, width=width, depth=depth, heads=heads, length=length)[1]


def trained(config: ModelConfig, length: int, steps: int, rows: int, recompute: bool) -> dict[str, Any]:
    """Seconds of a step and memory; DanluError where it does not fit."""
    batch = max(1, STEP_TOKENS // length)
    settings = TrainSettings(
        steps=1000, batch=batch, micro=min(rows, batch), lr=1e-4, precision="bf16", compile=True, recompute=recompute
    )
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            build(config, "cuda"), TokenObjective(), Random(batch, length, "cuda"), settings, Path(folder),
            voice=Voice(quiet=True), device="cuda",
        )  # fmt: skip
        trainer.metrics.take_up(0, 0)
        trainer.model.train()
        times = []
        with (
            recomputed(trainer.model, recompute),
            compiled(trainer.model, True),
            trainer.voice.progress("", "", None) as bar,
        ):
            for _ in range(WARMING + steps):
                start = time.perf_counter()
                trainer._step(bar)
                torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
    seconds = sorted(times[WARMING:])[steps // 2]
    return {
        "tokens_per_second": batch * length / seconds, "memory_gb": torch.cuda.max_memory_allocated() / 1e9,
        "rows": trainer.progress.micro or settings.micro, "recompute": recompute, "step_seconds": seconds,
    }  # fmt: skip


def measure(machine: Machine, length: int, steps: int) -> None:
    """The three largest that fit; the question is about the first of them."""
    rows = []
    for size in SIZES:
        config = shape(size, length)
        if 16 * parameters(config) > 0.95 * torch.cuda.get_device_properties(0).total_memory:
            continue
        for recompute in (False, True):
            try:
                found = trained(config, length, steps, 1 << 5, recompute)
            except DanluError as error:
                print(f"{size} recompute={recompute}: {error.code}", file=sys.stderr)
                torch.cuda.empty_cache()
                continue
            share = found["tokens_per_second"] * palm(config, length) / machine.peak(True)
            half = found["tokens_per_second"] * work(config, length, recompute=False) / machine.peak(True)
            rows.append({"size": size, "parameters": parameters(config), "mfu": share, "mfu_causal": half} | found)
            print(rows[-1], file=sys.stderr, flush=True)
            break
        if len(rows) == 3:
            break
    if not rows:
        raise SystemExit("no size fits on this GPU")
    largest = rows[0]
    facts = {"gpu": torch.cuda.get_device_name(), "peak": machine.peak(True), "length": length, "sizes": rows}
    question = f"model FLOPs utilisation of the largest GPT that fits ({largest['size']}), compile on"
    Answer(question, largest["mfu"], BAR, largest["mfu"] / BAR, 1.0, facts).show()


def self_test() -> None:
    """The formula against torch's own count of a real step, on a CPU."""
    length, rows = 64, 2
    config = fresh("gpt2-tiny", 512, length=length)[1]
    model, batch = build(config, "cpu"), torch.randint(512, (rows, length))
    with FlopCounterMode(display=False) as counter:
        model(batch).sum().backward()
    counted, reckoned = counter.get_total_flops(), rows * length * palm(config, length)
    ratio = reckoned / counted
    assert math.isclose(ratio, 1, rel_tol=0.03), ratio
    assert on_name("NVIDIA H200") == machines()["h200"]
    assert shape("6.7b", 2048).transformer.width == 4096  # type: ignore[union-attr]
    assert 6.5e9 < parameters(shape("6.7b", 2048)) < 7e9
    print(f"self-test: formula / torch's count = {ratio:.3f}", file=sys.stderr)
    Answer("model operations of a step, formula against torch's count", reckoned, counted, ratio, 0.97, {}).show()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        self_test()
        return
    if not torch.cuda.is_available():
        raise SystemExit("this question needs one CUDA GPU; --self-test checks the arithmetic without one")
    machine = on_name(torch.cuda.get_device_name())
    if machine is None:
        raise SystemExit(f"no peak figures for {torch.cuda.get_device_name()}; add them to machines.yaml")
    torch.set_float32_matmul_precision("high")
    measure(machine, options.length, options.steps)


if __name__ == "__main__":
    main()
