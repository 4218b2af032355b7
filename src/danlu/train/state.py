"""All that a checkpoint of a run holds."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from danlu.errors import DanluError
from danlu.nn.fingerprint import fingerprint
from danlu.nn.norms import moving
from danlu.train.balance import Balance
from danlu.train.divided import is_divided, own, own_rows
from danlu.train.guard import Guard, GuardState
from danlu.train.progress import Progress
from danlu.train.resume import Checkpoint
from danlu.train.tensors import Tensors, load_model, load_optimizer, model_tensors, optimizer_tensors


class TrainingState:
    """Weights, the optimiser's memory, counters and windows: with settings and data, they decide every later step."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, guard: Guard, balance: Balance):
        self.model, self.optimizer, self.guard, self.balance = model, optimizer, guard, balance
        self.progress = Progress()
        self.best: Tensors | None = None  # weights of the best evaluation
        self.average: Tensors | None = None  # of the weights of so many steps
        self.averaged = 0
        moves = moving(model)
        self.frozen = fingerprint(
            {name: own(each) for name, each in model.named_parameters() if not each.requires_grad and name not in moves}
        )

    def keep_best(self) -> None:
        """Remember what was evaluated: the weights, or their average."""
        self.best = {name: tensor.cpu().clone() for name, tensor in (self.average or self._weights()).items()}

    def go_to_best(self) -> None:
        """Take the weights of the best evaluation."""
        self._take(self.best or {})

    @torch.no_grad()
    def follow(self, kept: float | Literal["even"]) -> None:
        """Take the present weights into the average, which keeps this share of itself; early on, and where all steps
        shall count alike, as much as gives each the same share (Polyak and Juditsky 1992; Izmailov et al. 2018)."""
        self.averaged += 1
        if self.average is None:
            self.average = {name: tensor.clone() for name, tensor in self._weights().items()}
            return
        share = max(1 / self.averaged, 0.0 if kept == "even" else 1 - kept)
        for name, tensor in self._weights().items():
            mean = self.average[name]
            mean.lerp_(tensor.detach(), share) if mean.is_floating_point() else mean.copy_(tensor)

    def go_to_average(self) -> None:
        """Take the average, where there is one."""
        self._take(self.average or {})

    @contextmanager
    def at_average(self) -> Iterator[None]:
        """While entered, the model has the average for its weights, where there is one."""
        before = {name: tensor.clone() for name, tensor in self._weights().items()} if self.average else {}
        self.go_to_average()
        try:
            yield
        finally:
            self._take(before)

    def _weights(self) -> Tensors:
        return {name: own(tensor) for name, tensor in model_tensors(self.model).items()}

    @torch.no_grad()
    def _take(self, tensors: Tensors) -> None:
        for name, tensor in self._weights().items() if tensors else ():
            tensor.copy_(tensors[name])

    @property
    def has_better(self) -> bool:
        """Whether the best weights are no longer the model's."""
        return self.best is not None and self.progress.best_step != self.progress.step

    def tensors(self) -> dict[str, Tensors]:
        """By file, what this process holds: model, optimizer, and best where those are other weights."""
        groups = {name: {each: own(tensor) for each, tensor in group.items()} for name, group in self._groups().items()}
        if self.has_better and self.best is not None:
            groups["best"] = self.best
        return groups | ({"average": self.average} if self.average else {})

    def rows(self) -> dict[str, dict[str, int]]:
        """By file: the tensors of which each process holds some rows, and how many they have in all."""
        rows = {
            name: {each: tensor.shape[0] for each, tensor in group.items() if is_divided(tensor)}
            for name, group in self._groups().items()
        }
        return rows | {"best": rows["model"], "average": rows["model"]}

    def _groups(self) -> dict[str, Tensors]:
        return {"model": model_tensors(self.model), "optimizer": optimizer_tensors(self.model, self.optimizer)[0]}

    def plain(self) -> dict[str, Any]:
        """What is not tensors, as JSON."""
        return {
            "progress": self.progress.plain(),
            "guard": self.guard.state.plain(),
            "balance": self.balance.plain(),
            "averaged": self.averaged,
            "optimizer": optimizer_tensors(self.model, self.optimizer)[1],
            "frozen": self.frozen,
        }

    def read(self, saved: Checkpoint, *, keep_best: bool) -> None:
        """Become what a checkpoint holds. E1607 where it is another model's or another optimiser's, E1610 where the
        weights that do not train, which it does not hold, are not what they were."""
        if saved.state.get("frozen", self.frozen) != self.frozen:
            raise DanluError("E1610", where=saved.folder)
        load_model(self.model, saved.tensors("model"), saved.folder)
        load_optimizer(
            self.model, self.optimizer, saved.tensors("optimizer"), saved.state["optimizer"], saved.folder
        )  # fmt: skip
        self.progress = Progress.read(saved.state["progress"])
        if self.progress.ended != "early":  # more steps may have been asked for
            self.progress.ended = ""
        self.guard.state = GuardState.read(saved.state["guard"])
        self.balance.read(saved.state.get("balance", {}))
        tensors = model_tensors(self.model)
        self.best, self.average = (
            {name: own_rows(tensors[name], kept[name]).clone() for name in kept if name in tensors} or None
            for kept in (saved.tensors("best"), saved.tensors("average"))
        )
        if self.average:
            self.average = {name: kept.to(own(tensors[name]).device) for name, kept in self.average.items()}
        self.averaged = saved.state.get("averaged", 0)
        if keep_best and self.best is None and self.progress.best_step == self.progress.step > 0:
            self.keep_best()


def hash_of(facts: Any) -> str:
    """A few letters that differ where facts do."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def machine(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """What the last bits of a sum may depend on besides its terms."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "device": device.type, "processor": name, "threads": torch.get_num_threads(),
            "cores": os.cpu_count(), "processes": processes}  # fmt: skip


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`name old -> new` for each that changed."""
    names = [*before, *(name for name in now if name not in before)]
    return [f"{name} {before.get(name)} -> {now.get(name)}" for name in names if before.get(name) != now.get(name)]
