"""Every setting of training is seen to act."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyLoader, TinyModel, lines_of, trainer
from torch import nn

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.settings import build
from danlu.train.hardware import autocast, compute_precision
from danlu.train.log import read_lines
from danlu.train.objectives import TokenObjective
from danlu.train.trainer import TrainSettings


class Ticking:
    """A clock that a step, or whoever looks at it, moves on."""

    def __init__(self, each: float) -> None:
        self.now, self.each = 0.0, each

    def __call__(self) -> float:
        self.now += self.each
        return self.now


def rates(folder: Path, **changes: Any) -> list[float]:
    trainer(folder, **changes).run()
    return lines_of(folder, "lr")


def test_length(tmp_path: Path) -> None:
    assert trainer(tmp_path / "steps", steps=7).run().step == 7
    assert trainer(tmp_path / "epochs", steps=None, epochs=1.5).run().step == 15
    assert trainer(tmp_path / "groups", steps=None, epochs=1, accumulate=5).run().step == 2
    assert trainer(tmp_path / "none", steps=None).run().step == 10
    timed = trainer(tmp_path / "minutes", steps=None, minutes=1, clock=Ticking(1.0)).run()
    assert 5 < timed.step < 30
    assert timed.elapsed >= 60
    with pytest.raises(DanluError, match="E1102"):
        build(TrainSettings, {"steps": 3, "minutes": 2})


def test_a_time_budget_goes_on_where_it_was(tmp_path: Path) -> None:
    same: dict[str, Any] = {"steps": None, "minutes": 1, "save_every": 2}
    first = trainer(tmp_path, clock=Ticking(1.0), **same)
    first._end_if_over = lambda: setattr(first.progress, "ended", "interrupted" if first.progress.step == 4 else "")
    half = first.run()
    rest = trainer(tmp_path, clock=Ticking(1.0), **same).run()
    assert half.elapsed < 60 <= rest.elapsed < 75
    falling = lines_of(tmp_path, "lr")[3:]
    assert falling == sorted(falling, reverse=True)


def test_rate_and_schedule(tmp_path: Path) -> None:
    cosine = rates(tmp_path / "cosine", steps=10, lr=0.1, warmup=0)
    assert cosine[0] == pytest.approx(0.1, rel=0.02)
    assert cosine == sorted(cosine, reverse=True)
    assert 0 < cosine[-1] < 0.002
    assert rates(tmp_path / "floor", steps=10, lr=0.1, floor=0.5)[-1] > 0.05
    assert rates(tmp_path / "flat", steps=10, lr=0.1, warmup=0, schedule="constant") == [0.1] * 10
    by_steps, by_share = rates(tmp_path / "a", steps=10, warmup=4), rates(tmp_path / "b", steps=10, warmup=0.4)
    assert by_steps == by_share
    assert by_steps[:4] == pytest.approx([1e-2 * (step + 0.5) / 4 for step in range(4)])
    suggested = rates(tmp_path / "suggested", lr=None, warmup=0, schedule="constant")[0]
    assert suggested == pytest.approx(6e-4 * (768 / 16) ** 0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "muon"}, {"weight_decay": 0.0}, {"betas": (0.5, 0.5)}, {"eps": 1e-2}, {"clip": None},
        {"accumulate": 2}, {"precision": "bf16"}, {"seed": 4},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_changes_the_weights(tmp_path: Path, change: dict[str, Any]) -> None:
    base = trainer(tmp_path / "base", steps=4)
    other = trainer(tmp_path / "other", steps=4, **change)
    base.run(), other.run()
    assert not torch.equal(base.model.embedding.weight, other.model.embedding.weight)


def test_momentum(tmp_path: Path) -> None:
    base, other = (trainer(tmp_path / f"{m}", steps=4, optimizer="muon", momentum=m) for m in (0.5, 0.95))
    base.run(), other.run()
    assert not torch.equal(base.model.blocks[0].up.weight, other.model.blocks[0].up.weight)


def test_clip_shortens_the_gradient(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=1, clip=0.5)
    lengths = []
    run.optimizer.step = lambda: lengths.append(float(torch.nn.utils.get_total_norm(run.gradients._gradients())))
    run.run()
    assert lengths == pytest.approx([0.5], rel=1e-4)
    assert lines_of(tmp_path, "grad_norm")[0] > 1


def test_micro_is_the_rows_of_a_forward_pass(tmp_path: Path) -> None:
    rows: list[int] = []

    class Watched(TokenObjective):
        def __call__(self, model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
            rows.append(batch.rows)
            return super().__call__(model, batch)

    trainer(tmp_path, steps=1, micro=4, objective=Watched()).run()
    assert rows == [4, 2]


def test_precision(tmp_path: Path) -> None:
    assert compute_precision("bf16", torch.device("cpu")) == torch.bfloat16
    assert compute_precision("float32", torch.device("cpu")) == torch.float32
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert (compute_precision("auto", torch.device("cpu")) == torch.bfloat16) == native
    seen = []
    model = TinyModel()
    model.blocks[0].up.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    trainer(tmp_path, model=model, steps=1, precision="bf16").run()
    assert seen == [torch.bfloat16]
    with autocast(torch.device("cpu"), torch.float32):
        assert not torch.is_autocast_enabled("cpu")


def test_recompute_gives_the_same_bits_from_less_memory(tmp_path: Path) -> None:
    kept: dict[bool, int] = {}
    for recompute in (False, True):
        saved: list[int] = []
        objective = TokenObjective()
        run = trainer(tmp_path / str(recompute), steps=3, recompute=recompute, objective=objective)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, saved=saved: (saved.append(x.nbytes), x)[1], lambda x: x
        ):
            run.run()
        kept[recompute] = sum(saved)
        assert "forward" not in vars(run.model.blocks[0])
    assert lines_of(tmp_path / "True") == lines_of(tmp_path / "False")
    assert kept[True] < kept[False]


def test_compile_wraps_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compiled.append(type(self).__name__))
    trainer(tmp_path / "yes", steps=1, compile=True).run()
    assert compiled == ["Block", "Block"]
    trainer(tmp_path / "no", steps=1).run()
    assert compiled == ["Block", "Block"]


def test_evaluate_save_keep_and_log(tmp_path: Path) -> None:
    trainer(
        tmp_path, steps=20, save_every=4, keep=3, guard={"back": 1000}, log_every=5, evaluate_every=6,
        evaluate=lambda _: {"loss": 1.0},
    ).run()  # fmt: skip
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000004", "step-00000012", "step-00000016", "step-00000020"]  # the oldest is the guard's
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [5, 10, 15, 20]
    assert [line["step"] for line in lines if "evaluation" in line] == [6, 12, 18, 20]


def test_save_minutes(tmp_path: Path) -> None:
    trainer(tmp_path, steps=4, save_every=1000, save_minutes=0.001, keep=9, clock=Ticking(1.0)).run()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4


def test_tensorboard(tmp_path: Path) -> None:
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer(tmp_path, steps=6, tensorboard=True, evaluate=lambda _: {"loss": 1.5}).run()
    events = reading.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("evaluation/loss")[0].value == 1.5
    assert not (tmp_path / "none" / "tensorboard").exists()


def test_tensorboard_is_missed_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trainer(tmp_path, steps=2).run()
    with pytest.raises(DanluError, match="E1504"):
        trainer(tmp_path, steps=2, tensorboard=True).run()


def test_batch_is_for_whoever_makes_the_loader() -> None:
    assert TrainSettings(batch=64).batch == 64
    assert TinyLoader(rows=6).batch(0).rows == 6
