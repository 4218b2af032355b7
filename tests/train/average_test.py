"""Averages of the weights: what they are, what is evaluated and kept, and that they are taken up again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyLoader, TinyModel, outcome, trainer
from torch import Tensor

from danlu.data.batch import Batch
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import TokenObjective

EVEN: dict[str, Any] = {"steps": 12, "average": "even", "save_every": 4, "evaluate_every": 4}


def weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def course(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[TinyModel, list[Tensor]]:
    """A finished run, and its weights after each step."""
    model, seen = TinyModel(), []
    run = trainer(folder, model=model, **changes)
    step = run.optimizer.step
    monkeypatch.setattr(run.optimizer, "step", lambda: (step(), seen.append(weights(model))))
    run.run()
    return model, seen


def test_all_steps_count_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = course(tmp_path / "even", monkeypatch, **EVEN)
    torch.testing.assert_close(weights(model), torch.stack(seen).mean(0))
    model, seen = course(tmp_path / "late", monkeypatch, **EVEN, average_from=0.75)
    torch.testing.assert_close(weights(model), torch.stack(seen[9:]).mean(0))


def test_a_moving_average_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = course(tmp_path, monkeypatch, **EVEN | {"average": 0.5})
    mean = seen[0]
    for each in seen[1:]:
        mean = (mean + each) / 2
    torch.testing.assert_close(weights(model), mean)


def test_the_average_is_what_is_evaluated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Tensor] = []
    costs = iter([3.0, 1.0, 2.0])

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        looked.append(weights(model))
        return {"loss": next(costs)}

    model, seen = course(tmp_path, monkeypatch, **EVEN, evaluate=evaluate)
    torch.testing.assert_close(looked[1], torch.stack(seen[:8]).mean(0))
    assert torch.equal(weights(model), looked[1])
    assert not torch.equal(weights(model), seen[7])


class Stopping(TinyLoader):
    """Asks this process to leave while a batch is fetched."""

    def stream(self, first: int) -> Iterator[Batch]:
        for step, batch in enumerate(super().stream(first), first):
            if step == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


@pytest.mark.parametrize("average", ["even", 0.9])
@pytest.mark.parametrize("best", [True, False])
def test_an_average_is_taken_up_again(tmp_path: Path, average: Any, best: bool) -> None:
    held = HeldOut(TokenObjective(), TinyLoader(), batches=2)
    changes = EVEN | {"average": average, "best": best, "evaluate": held}
    whole = trainer(tmp_path / "whole", **changes)
    whole.run()
    assert trainer(tmp_path / "parts", **changes, loader=Stopping()).run().ended == "interrupted"
    again = trainer(tmp_path / "parts", **changes, model=TinyModel(seed=9))
    again.run()
    assert outcome(tmp_path / "whole") == outcome(tmp_path / "parts")
    assert torch.equal(weights(whole.model), weights(again.model))
