"""The loop: exact sums whatever the pieces, every setting seen to act, resumed = uninterrupted."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyLoader, TinyModel, lines_of, outcome, trainer
from torch import Tensor, nn

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.train.evaluation import HeldOut
from danlu.train.log import read_lines
from danlu.train.objectives import TokenObjective
from danlu.train.optimizers import OPTIMIZERS


def gradients(folder: Path, **changes: Any) -> dict[str, Tensor]:
    """What one step finds, before clipping and without dropout."""
    ours = trainer(folder, model=TinyModel(dropout=0.0), **changes)
    batches = [ours.loader.batch(step) for step in range(ours.settings.accumulate)]
    ours.room.measure(batches, ours.gradients.counts(batches)[0], 0, ours.progress)
    return {name: parameter.grad for name, parameter in ours.model.named_parameters()}


def test_pieces_sum_to_the_whole_batch(tmp_path: Path) -> None:
    whole = gradients(tmp_path)
    loss = nn.functional.cross_entropy
    model, batch = TinyModel(dropout=0.0), TinyLoader().batch(0)
    logits = model.head.output(model.hidden(**batch.inputs))
    loss(logits.flatten(0, 1), batch.targets["tokens"].flatten()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(whole[name], parameter.grad, rtol=1e-5, atol=1e-6)
    for rows in (1, 2, 4, 5):  # uneven pieces with uneven numbers of targets
        for name, piecewise in gradients(tmp_path, micro=rows).items():
            torch.testing.assert_close(piecewise, whole[name], rtol=1e-5, atol=1e-6)


def test_accumulated_batches_equal_one_big_batch(tmp_path: Path) -> None:
    small = TinyLoader(rows=2)

    class Joined(TinyLoader):
        def batch(self, step: int) -> Batch:
            parts = [small.batch(3 * step + index) for index in range(3)]
            joined = [{name: torch.cat([getattr(p, kind)[name] for p in parts]) for name in getattr(parts[0], kind)}
                      for kind in ("inputs", "targets")]  # fmt: skip
            return Batch(*joined)

    big = gradients(tmp_path, loader=Joined())
    for name, piecewise in gradients(tmp_path, loader=TinyLoader(rows=2), accumulate=3).items():
        torch.testing.assert_close(piecewise, big[name], rtol=1e-5, atol=1e-6)


class Cramped:
    """An objective with room for `most` rows."""

    def __init__(self, most: int, error: type[Exception]) -> None:
        self.inner, self.most, self.error = TokenObjective(), most, error
        self.weights, self.counts = self.inner.weights, self.inner.counts
        self.seen: list[int] = []

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.seen.append(batch.rows)
        if batch.rows > self.most:
            raise self.error("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return self.inner(model, batch)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_the_piece_and_keeps_the_batch(tmp_path: Path, error: type[Exception]) -> None:
    cramped = Cramped(2, error)
    piecewise = gradients(tmp_path, objective=cramped)
    assert cramped.seen == [6, 3, 2, 2, 2]
    for name, whole in gradients(tmp_path).items():
        torch.testing.assert_close(piecewise[name], whole, rtol=1e-5, atol=1e-6)


def test_out_of_memory_mid_step_repeats_it_and_is_remembered(tmp_path: Path) -> None:
    cramped = Cramped(3, MemoryError)
    run = trainer(tmp_path, model=TinyModel(dropout=0.0), objective=cramped, steps=4)
    assert run.run().micro == 3
    assert cramped.seen == [6] + [3, 3] * 4  # found out once, not in every step
    assert [line["event"] for line in read_lines(tmp_path / "metrics.jsonl") if "event" in line] == ["out of memory"]
    plain = tmp_path / "plain"
    trainer(plain, model=TinyModel(dropout=0.0), steps=4).run()
    torch.testing.assert_close(lines_of(tmp_path), lines_of(plain), rtol=1e-5, atol=1e-6)


def test_not_even_one_row_fits(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1702"):
        trainer(tmp_path, objective=Cramped(0, MemoryError)).run()


def test_memory_that_cannot_be_had_in_pieces_is_named(tmp_path: Path) -> None:
    run = trainer(tmp_path)

    def cannot() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    run.optimizer.step = cannot
    with pytest.raises(DanluError, match="E1705"):
        run.run()


def test_evaluation_halves_its_pieces_too() -> None:
    cramped = Cramped(2, MemoryError)
    model, loader = TinyModel(dropout=0.0), TinyLoader(epoch=2)
    piecewise = HeldOut(cramped, loader)(model)
    assert cramped.seen == [6, 3, 2, 2, 2, 2, 2, 2]
    assert piecewise["loss"] == pytest.approx(HeldOut(TokenObjective(), loader)(model)["loss"], rel=1e-5)
    with pytest.raises(MemoryError):
        HeldOut(Cramped(0, MemoryError), loader)(model)


def test_a_loss_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    losses = iter([float("nan"), 2.0, float("nan"), 1.0])
    progress = trainer(tmp_path, steps=4, evaluate=lambda _: {"loss": next(losses)}, evaluate_every=1).run()
    assert (progress.best_step, progress.best_loss) == (4, 1.0)


def test_a_finished_run_goes_on_when_more_steps_are_asked_for(tmp_path: Path) -> None:
    trainer(tmp_path, steps=5).run()
    progress = trainer(tmp_path, steps=9).run()
    assert (progress.step, progress.ended) == (9, "done")
    assert lines_of(tmp_path, "step") == list(range(1, 10))


def test_other_runtime_errors_are_not_taken_for_memory(tmp_path: Path) -> None:
    class Wrong(Cramped):
        def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        trainer(tmp_path, objective=Wrong(0, MemoryError)).run()


class Asked(TinyLoader):
    """Sends this process a signal while a batch is fetched."""

    def __init__(self, at: int, number: int) -> None:
        super().__init__()
        self.at, self.number = at, number

    def stream(self, first: int) -> Iterator[Batch]:
        for step, batch in enumerate(super().stream(first), first):
            if step == self.at:
                os.kill(os.getpid(), self.number)
            yield batch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_resumed_equals_uninterrupted(tmp_path: Path, number: int, optimizer: str) -> None:
    held_out = HeldOut(TokenObjective(), TinyLoader(), batches=2)
    same: dict[str, Any] = {"optimizer": optimizer, "evaluate": held_out, "evaluate_every": 4, "micro": 4}
    trainer(tmp_path / "whole", **same).run()
    for at in (0, 6, 11, 12, 28):  # on, before and after saving and evaluating
        cut = tmp_path / f"cut{at}"
        first = trainer(cut, loader=Asked(at, number), **same).run()
        assert first.ended == "interrupted"
        assert first.step == at + 1  # the step was finished, not broken off
        assert trainer(cut, model=TinyModel(seed=9), **same).run().ended == "done"
        assert outcome(cut) == outcome(tmp_path / "whole")


def test_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    class Twice(TinyLoader):
        def stream(self, first: int) -> Iterator[Batch]:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
            yield from super().stream(first)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, loader=Twice()).run()
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "lock").exists()


def test_an_evaluation_is_broken_off_and_made_up_for(tmp_path: Path) -> None:
    held_out = HeldOut(TokenObjective(), TinyLoader(), batches=2)

    def interrupted(model: nn.Module) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on")

    same: dict[str, Any] = {"steps": 10, "evaluate_every": 5}
    trainer(tmp_path / "whole", evaluate=held_out, **same).run()
    assert trainer(tmp_path / "cut", evaluate=interrupted, **same).run().ended == "interrupted"
    trainer(tmp_path / "cut", evaluate=held_out, **same).run()
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


def test_evaluation_leaves_training_as_it_was(tmp_path: Path) -> None:
    def noisy(model: nn.Module) -> dict[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.manual_seed(5)
        torch.rand(100)
        return {"loss": 1.0}

    trainer(tmp_path / "with", evaluate=noisy, evaluate_every=3).run()
    trainer(tmp_path / "without").run()
    assert lines_of(tmp_path / "with") == lines_of(tmp_path / "without")
    assert len(lines_of(tmp_path / "with", "evaluation")) == 10


def test_threads_are_used_told_and_given_back(tmp_path: Path) -> None:
    used: list[int] = []

    def counting(model: nn.Module) -> dict[str, float]:
        used.append(torch.get_num_threads())
        return {"loss": 1.0}

    before = torch.get_num_threads()
    for steps, threads in ((3, before), (6, before + 1)):
        trainer(tmp_path, steps=steps, threads=threads, evaluate=counting, evaluate_every=3).run()
    assert used == [before, before + 1]
    assert torch.get_num_threads() == before
    assert f"threads {before} -> {before + 1}" in (tmp_path / "journal.jsonl").read_text()


def test_held_out_losses_are_token_weighted_means() -> None:
    model, loader = TinyModel(dropout=0.0), TinyLoader(epoch=3)
    total, count = 0.0, 0
    for step in range(3):
        batch = loader.batch(step)
        logits = model.head.output(model.hidden(**batch.inputs)).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, batch.targets["tokens"].flatten(), reduction="sum")
        total += loss.item()
        count += batch.count("tokens")
    found = HeldOut(TokenObjective(), loader)(model)
    assert found["loss"] == pytest.approx(total / count, rel=1e-5)
    assert found["tokens_loss"] == found["loss"]


def test_stops_early_and_ends_with_the_best_weights(tmp_path: Path) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.0])
    seen: list[Tensor] = []

    def worsening(model: nn.Module) -> dict[str, float]:
        seen.append(model.embedding.weight.detach().clone())
        return {"loss": next(losses)}

    run = trainer(tmp_path, evaluate=worsening, evaluate_every=3, patience=2)
    progress = run.run()
    assert (progress.ended, progress.step, progress.best_step, progress.best_loss) == ("early", 12, 6, 1.0)
    assert torch.equal(run.model.embedding.weight, seen[1])
    again = trainer(tmp_path, evaluate=worsening, evaluate_every=3, patience=2)
    assert again.run().step == 12  # what stopped early stays so
    assert torch.equal(again.model.embedding.weight, seen[1])
    last = trainer(tmp_path / "last", evaluate=lambda _: {"loss": next(iter([1.0]))}, patience=1, best=False)
    last.run()
    assert last.state.best is None


def test_refuses_without_targets(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1501"):
        trainer(tmp_path, loader=TinyLoader(without=frozenset(range(10)))).run()


def test_a_batch_without_targets_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    run = trainer(tmp_path, loader=TinyLoader(without=frozenset({2, 3})), steps=4)
    before: list[Tensor] = []
    run._log = lambda *_, write=run._log: (before.append(run.model.embedding.weight.detach().clone()), write(*_))
    assert run.run().without_targets == 2
    assert torch.equal(before[1], before[3])
    assert not torch.equal(before[0], before[1])
    events = [line for line in read_lines(tmp_path / "metrics.jsonl") if "event" in line]
    assert [line["step"] for line in events] == [3, 4]


def test_frozen_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1505"):
        trainer(tmp_path, model=TinyModel().requires_grad_(False))


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = TinyModel()
    model.blocks.requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer(tmp_path, model=model, steps=3).run()
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"embedding.weight"}
