"""A process that trains tiny models in forked children, which are killed or hurt at chosen points.

Each line of stdin is an order in JSON, each line of stdout what became of it. torch is imported once, here, before any
thread is started, so that a run costs a fork instead of an import.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

import numpy as np
import torch
from tiny import TinyLoader, TinyModel, trainer
from torch import nn

from danlu import files
from danlu.adapt import read_change
from danlu.data.batch import Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.loader import Loader
from danlu.data.order import key
from danlu.models.build import build
from danlu.models.classifier import ClassifierConfig
from danlu.models.families import fresh
from danlu.models.families.heads import answer_config
from danlu.tasks.loader import TaskLoader
from danlu.tasks.task import Example, collate
from danlu.train.answers import AnswerObjective
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import Objective, TokenObjective

STEPS = 30
NOT_OF_THE_DISK = ("in step", "after piece", "in evaluation")


class Hook:
    """Stands in for `files.reached`: counts, and acts when its time has come."""

    def __init__(self, order: dict[str, Any], checkpoints: Any):
        self.order, self.checkpoints = order, checkpoints
        self.points: list[str] = []
        self.before: int | None = None
        self.raised = self.looking = False

    def __call__(self, point: str) -> None:
        if self.looking or threading.current_thread() is not threading.main_thread():
            return
        index = len(self.points)
        self.points.append(point)
        if index == self.order.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.raised and point == "in step" and (self.before or -1) > (self.valid() or -1):
            os._exit(3)  # a checkpoint was lost
        if index in self.order.get("raise", ()) and point not in NOT_OF_THE_DISK:
            self.before, self.raised = self.valid(), True
            raise OSError(self.order["errno"], os.strerror(self.order["errno"]), point)

    def valid(self) -> int | None:
        self.looking = True
        newest, _ = self.checkpoints.newest()
        self.looking = False
        return None if newest is None else newest.step


def real(name: str) -> tuple[nn.Module, Loader]:
    """A family's model, very small, with dropout, and packed rows that a thread corrupts."""
    _, config = fresh(name, 64, width=32, depth=2, heads=2, dropout=0.1)
    special = {"pad": 0, "start": 1, "separator": 2, "mask": 3} if name.startswith("bert") else {"start": 0, "end": 0}
    documents = [(key(1, index, np.arange(5 + 3 * index)) % 60 + 4).tolist() for index in range(40)]
    corruption_settings, words = CorruptionSettings(share=0.3), Words(64, special)
    rows = pack(Corpus.of(documents), 32, corruption_settings, words)
    return build(config, seed=1), Loader(rows, corruption(corruption_settings, words), 6, seed=2)


def taught(change: str | None) -> tuple[nn.Module, TaskLoader]:
    """A classifier on a tower that learns from rows of every length: with a change, or all but the tokens' vectors."""
    family, base = fresh("bert-tiny", 64, width=32, depth=2, heads=2, dropout=0.1)
    head = answer_config(family, "row", "single", ("a", "b", "c"))
    model = build(ClassifierConfig(base=base, heads={"classify": head}), seed=1)
    if change:
        read_change(change).apply(model, 1)
    else:
        model.tower.embedding.tokens.weight.requires_grad_(False)  # type: ignore[union-attr]
    rows = [Example((key(1, n, np.arange(4 + n % 9)) % 60 + 4).tolist(), target=n % 3) for n in range(50)]

    def made(examples: Sequence[Example]) -> Batch:
        return collate(examples, 0, {"classify": torch.tensor([each.target for each in examples])})

    return model, TaskLoader(rows, made, 6, seed=2)


def train(order: dict[str, Any]) -> int:
    name = order.get("model", "tiny")
    objective: Objective = TokenObjective()
    if name == "tiny":
        model, loader = TinyModel(dropout=0.1), TinyLoader()
    elif name == "classifier":
        model, loader = taught(order.get("adapt"))
        objective = AnswerObjective({"classify": "labels"})
    else:
        model, loader = real(name)
    run = trainer(
        Path(order["folder"]), steps=STEPS, save_every=7, evaluate_every=9, micro=4, model=model, loader=loader,
        optimizer=order.get("optimizer", "adamw"), evaluate=HeldOut(objective, loader, batches=2),
        guard={"back": 10}, precision=order.get("precision", "float32"), objective=objective,
    )  # fmt: skip
    hook = files.reached = Hook(order, run.checkpoints)
    run.run()
    if "record" in order:
        Path(order["record"]).write_text(json.dumps(hook.points))
    return 0


def child(order: dict[str, Any]) -> None:
    """Ends the process."""
    code = 2
    try:
        code = train(order)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def watch(pid: int, seconds: float) -> None:
    """Kill a child after so long, if it still lives."""
    end = time.monotonic() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() >= end:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.0005)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # once here: torch imports much of itself only when it is used
        for model in ("tiny", "gpt2-tiny", "bert-tiny", "classifier"):
            train({"folder": f"{folder}/{model}", "model": model})
    for line in sys.stdin:
        order = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child(order)
        if "after" in order:
            watch(pid, order["after"])
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
