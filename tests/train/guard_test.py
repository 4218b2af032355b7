"""Accidents: which steps are skipped, when training goes back, and that a kill changes none of it."""

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyLoader, TinyModel, lines_of, outcome, trainer
from torch import Tensor, nn

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.train.guard import Guard, GuardSettings, GuardState
from danlu.train.log import read_lines
from danlu.train.objectives import TokenObjective

SMALL = GuardSettings(window=8, row=3, stretch=5, back=10, jump=4)


def settled(settings: GuardSettings = SMALL) -> Guard:
    guard = Guard(settings)
    chance = np.random.default_rng(0)
    for _ in range(settings.window):
        assert guard.judge(2 + 0.1 * chance.random(), 1 + 0.1 * chance.random()).action == "go"
    return guard


@pytest.mark.parametrize(("loss", "norm", "reason"), [
    (math.nan, 1.0, "not finite"), (math.inf, 1.0, "not finite"), (2.0, math.nan, "not finite"),
    (2.0, math.inf, "not finite"), (9.0, 1.0, "loss"), (2.0, 9.0, "gradient"),
])  # fmt: skip
def test_an_accident_is_skipped(loss: float, norm: float, reason: str) -> None:
    guard = settled()
    verdict = guard.judge(loss, norm)
    assert (verdict.action, verdict.reason) == ("skip", reason)
    assert guard.state.skipped == 1
    assert guard.judge(2.05, 1.05).action == "go"


def test_what_is_ordinary_depends_on_the_window() -> None:
    assert settled().judge(2.3, 1.0).action == "skip"
    assert settled(GuardSettings(window=8, sigmas=30)).judge(2.3, 1.0).action == "go"
    fresh = Guard(SMALL)
    assert fresh.judge(2.0, 1.0).action == "go"
    assert fresh.judge(50.0, 90.0).action == "go"  # nothing is ordinary yet
    assert fresh.judge(math.nan, 1.0).action == "skip"


def test_goes_back_after_accidents_in_a_row() -> None:
    guard = settled()
    assert [guard.judge(math.nan, 1.0).action for _ in range(3)] == ["skip", "skip", "rollback"]
    guard = settled(GuardSettings())
    assert [guard.judge(50.0, 1.0).action for _ in range(3)] == ["skip", "skip", "rollback"]
    guard = settled()
    assert guard.judge(math.nan, 1.0).action == "skip"
    assert guard.judge(2.05, 1.05).action == "go"  # breaks the row
    assert guard.judge(math.nan, 1.0).action == "skip"


def test_long_gradients_alone_are_no_reason_to_go_back() -> None:
    guard = settled()
    actions = [guard.judge(2.05, 10.0 ** (3 + 2 * index)).action for index in range(6)]
    assert "skip" in actions
    assert "rollback" not in actions


def test_goes_back_when_the_loss_stays_high() -> None:
    guard = settled(GuardSettings(window=16, stretch=5, sigmas=1e9))
    assert [guard.judge(5.0, 1.0).action for _ in range(5)] == ["go"] * 4 + ["rollback"]
    guard = settled(GuardSettings(window=16, stretch=5, sigmas=1e9, high=3.0))
    assert {guard.judge(5.0, 1.0).action for _ in range(5)} == {"go"}


def test_the_state_survives_writing() -> None:
    guard = settled()
    guard.judge(math.nan, 1.0)
    twin = Guard(SMALL)
    twin.state = GuardState.read(guard.state.plain())
    for loss in (math.nan, 2.0, 2.4, 9.0, math.nan, math.nan, math.nan):
        assert guard.judge(loss, 1.0) == twin.judge(loss, 1.0)
    assert guard.state == twin.state


class Marked(TinyLoader):
    """Batches in `bad` carry a mark; `die_at` sends this process a signal once."""

    def __init__(self, bad: set[int], ask_at: int | None = None) -> None:
        super().__init__()
        self.bad, self.ask_at = bad, ask_at

    def stream(self, first: int) -> Iterator[Batch]:
        for step in range(first, 10**9):
            if step == self.ask_at:
                self.ask_at = None
                os.kill(os.getpid(), signal.SIGTERM)
            batch = self.batch(step)
            mark = {"valid": torch.ones_like(batch.inputs["tokens"])} if step in self.bad else {}
            yield Batch({**batch.inputs, **mark}, batch.targets)


class Spiking(TokenObjective):
    """Multiplies the loss of marked batches."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        times = self.times if "valid" in batch.inputs else 1.0
        return {name: times * total for name, total in super().__call__(model, batch).items()}


def run(folder: Path, bad: set[int], times: float = 1e4, ask_at: int | None = None, **changes: Any) -> Any:
    settings = {"steps": 60, "lr": 1e-3, "guard": SMALL, "objective": Spiking(times)} | changes
    loader = Marked(bad, ask_at)
    ours = trainer(folder, loader=loader, **settings)
    ours.run()
    return ours


def events(folder: Path) -> list[tuple[int, str]]:
    return [(line["step"], line["event"]) for line in read_lines(folder / "metrics.jsonl") if "event" in line]


@pytest.mark.parametrize("times", [math.nan, 1e4])
def test_a_skipped_step_leaves_no_trace_in_the_weights(tmp_path: Path, times: float) -> None:
    seen: list[Tensor] = []
    ours = trainer(tmp_path, loader=Marked({20}), steps=22, guard=SMALL, objective=Spiking(times))
    ours._log = lambda *_, write=ours._log: (seen.append(ours.model.embedding.weight.detach().clone()), write(*_))
    ours.run()
    assert torch.equal(seen[19], seen[20])
    assert not torch.equal(seen[20], seen[21])
    assert events(tmp_path) == [(21, "skipped")]


def test_goes_back_and_leaves_the_data_out(tmp_path: Path) -> None:
    ours = run(tmp_path, {30, 31, 32}, math.nan)
    assert ours.progress.step == 60
    assert events(tmp_path) == [(31, "skipped"), (32, "skipped"), (33, "rollback")]
    assert ours.progress.offset == 33 + 4 - 20  # from checkpoint 20 (23 - 10 is no regular one) on with batch 37
    steps = lines_of(tmp_path, "step")
    assert steps == sorted(steps[:35]) + sorted(steps[35:])  # 32 steps and three events, then on from 21
    twice = [line["loss"] for line in read_lines(tmp_path / "metrics.jsonl") if line["step"] == 21 and "loss" in line]
    assert twice[0] != twice[1]


def test_without_a_checkpoint_it_stops(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1502"):
        run(tmp_path, {1, 2, 3}, math.nan)


def test_after_so_many_returns_it_stops(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1503"):
        run(tmp_path, set(range(30, 200)), math.nan)
    assert [event for _, event in events(tmp_path)].count("rollback") == 3
    with pytest.raises(DanluError, match="E1503"):
        run(tmp_path / "never", {30, 31, 32}, math.nan, guard=SMALL.model_copy(update={"rollbacks": 0}))


@pytest.mark.parametrize(
    ("bad", "times"), [({15}, 1e4), ({30, 31, 32}, math.nan), ({14, 30, 31, 32, 50, 51, 52}, math.nan)], ids=str
)
def test_decisions_are_the_same_after_an_interruption(tmp_path: Path, bad: set[int], times: float) -> None:
    run(tmp_path / "whole", bad, times)
    for ask_at in (14, 21, 32, 38):
        cut = tmp_path / str(ask_at)
        run(cut, bad, times, ask_at=ask_at)
        run(cut, bad, times, model=TinyModel(seed=9))
        assert outcome(cut) == outcome(tmp_path / "whole"), ask_at
