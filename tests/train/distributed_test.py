"""Several processes train as one does: the same gradients, samples and decisions, whatever their number."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyLoader, TinyModel, lines_of, outcome, trainer
from together import together
from torch import Tensor, nn

from danlu.data.batch import Batch, share
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.nn.dropout import Dropout
from danlu.train.distributed import World
from danlu.train.divided import whole
from danlu.train.evaluation import HeldOut
from danlu.train.gradients import Gradients
from danlu.train.log import read_lines
from danlu.train.objectives import TokenObjective
from danlu.train.parallel import Shards, arranged
from danlu.train.resume import Checkpoints, verify

ROWS = 12


def gradients(world: World, folder: Path, changes: dict[str, Any]) -> tuple[dict[str, Tensor], float, float]:
    """What the first step finds: whole gradients, loss and norm."""
    ours = trainer(folder, model=TinyModel(dropout=0.0), loader=TinyLoader(rows=ROWS), world=world, **changes)
    ours.room.rehearse(ours.loader, 0, ours.progress)
    batches = [ours.loader.batch(step) for step in range(ours.settings.accumulate)]
    measured = ours.room.measure(batches, ours.gradients.counts(batches)[0], 0, ours.progress)
    named = ours.layout.trained.named_parameters()
    found = {name: whole(parameter.grad) for name, parameter in named if parameter.grad is not None}
    return found, measured.loss, measured.norm


WAYS = [
    {},
    {"sharded": True},
    {"sharded": True, "recompute": True},
    {"micro": 2, "accumulate": 2},
    {"micro": 1, "sharded": True},
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return [gradients(World(), tmp_path_factory.mktemp("one"), way) for way in WAYS]


def every_way(world: World, folder: Path) -> list[Any]:
    return [gradients(world, folder, way) for way in WAYS]


@pytest.mark.parametrize("size", [2, 3, 5])  # 5 does not divide the batch
def test_gradients_are_those_of_one_process(tmp_path: Path, alone: list[Any], size: int) -> None:
    for found in together(size, every_way, tmp_path):
        assert not isinstance(found, (str, DanluError)), found
        for way, (mine, loss, norm), (theirs, their_loss, their_norm) in zip(WAYS, found, alone, strict=True):
            assert mine.keys() == theirs.keys()
            for name in theirs:
                torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=1e-6, msg=f"{way} {name}")
            assert (loss, norm) == (pytest.approx(their_loss, abs=1e-6), pytest.approx(their_norm, abs=1e-6))


class Remembering(TinyLoader):
    """Counts on from the number of the sample, so that rows can be told apart."""

    def batch(self, step: int) -> Batch:
        numbers = torch.arange(step * self.rows, (step + 1) * self.rows)
        tokens = (numbers[:, None] + torch.arange(8)) % 32
        self.asked.append(step)
        return Batch({"tokens": tokens}, {"tokens": (tokens + 1) % 32, "number": numbers[:, None]})


class Watching(TokenObjective):
    """Notes which samples were learnt from."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        self.seen += batch.targets["number"].flatten().tolist()
        return super().__call__(model, batch)


def samples(world: World, folder: Path, steps: int) -> list[int]:
    """The samples that one process learns from, of a run or of what is left of it; the rehearsal apart."""
    objective = Watching()
    run = trainer(folder, loader=Remembering(rows=ROWS), objective=objective, world=world, steps=steps, save_every=2)
    before = run.checkpoints.newest()[0]
    run.run()
    done = before.step if before else 0
    per_step = share(ROWS, world.rank, world.size)
    return objective.seen[-(steps - done) * (per_step.stop - per_step.start) :]


def in_order(parts: list[list[int]], size: int) -> list[int]:
    """What all processes saw, step by step."""
    rows = [share(ROWS, rank, size) for rank in range(size)]
    counts = [each.stop - each.start for each in rows]
    steps = len(parts[0]) // counts[0]
    return [sample for step in range(steps) for part, count in zip(parts, counts, strict=True)
            for sample in part[step * count : (step + 1) * count]]  # fmt: skip


def test_the_sample_stream_is_the_same_for_any_world_across_resumes(tmp_path: Path) -> None:
    for worlds in ((1, 2, 3), (6, 4, 1), (2, 6, 4), (3, 1, 2)):
        folder, seen = tmp_path / "-".join(map(str, worlds)), []
        for leg, size in enumerate(worlds, 1):
            parts = together(size, samples, folder, 2 * leg)
            assert all(isinstance(part, list) for part in parts), parts
            seen += in_order(parts, size)
        assert seen == list(range(6 * ROWS)), worlds


def run_all(world: World, folder: Path, changes: dict[str, Any]) -> str:
    held_out = HeldOut(TokenObjective(), TinyLoader(epoch=5), world=world)
    run = trainer(folder, loader=TinyLoader(rows=ROWS), world=world, evaluate=held_out, evaluate_every=4, **changes)
    return run.run().ended


@pytest.mark.parametrize("sharded", [False, True])
def test_the_same_world_gives_the_same_bits_also_across_a_resume(tmp_path: Path, sharded: bool) -> None:
    names = "straight", "broken"
    for name in names:
        for steps in (10,) if name == "straight" else (5, 10):
            optimizer = "adafactor" if sharded else "muon"
            changes = {"steps": steps, "sharded": sharded, "schedule": "constant", "warmup": 0, "optimizer": optimizer}
            assert together(2, run_all, tmp_path / name, changes) == ["done", "done"]
    straight, broken = (outcome(tmp_path / name) for name in names)
    differing = [line for line in broken["lines"] if line not in straight["lines"]]
    assert [line["step"] for line in differing] == [5]  # the evaluation at the end of the first leg
    for name in (name for name in straight if name.endswith(".safetensors")):
        assert straight[name] == broken[name], name
    assert len([name for name in straight if name.startswith("model")]) == 1 + sharded


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adafactor", "lamb"])
def test_shards_of_two_are_read_by_one_and_four(tmp_path: Path, optimizer: str) -> None:
    changes = {"optimizer": optimizer, "precision": "float32", "steps": 6}
    assert together(2, run_all, tmp_path, changes | {"sharded": True}) == ["done", "done"]
    folder = tmp_path / "checkpoints/step-00000006"
    names = {path.name for path in folder.iterdir()}
    assert {"model-00001-of-00002.safetensors", "optimizer-00002-of-00002.safetensors", "manifest.json"} <= names
    verify(folder)
    saved = held(World(), tmp_path, changes)
    one = outcome_of(saved)
    plain = tmp_path / "plain"
    assert together(2, run_all, plain, changes) == ["done", "done"]
    for name, tensor in outcome_of(held(World(), plain, changes)).items():  # replicas found the same
        torch.testing.assert_close(one[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
    for sharded in (True, False):
        for theirs in together(4, held, tmp_path, changes | {"sharded": sharded}):
            assert not isinstance(theirs, (str, DanluError)), theirs
            for name, tensor in one.items():
                assert torch.equal(outcome_of(theirs)[name], tensor), name


def held(world: World, folder: Path, changes: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """What a run of any world takes up from a checkpoint: whole weights and memory of the optimiser."""
    run = trainer(folder, loader=TinyLoader(rows=ROWS), world=world, **changes)
    run._resume()
    return {
        name: {each: whole(tensor) for each, tensor in group.items()} for name, group in run.state._groups().items()
    }


def outcome_of(groups: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}


def test_going_on_with_another_number_of_processes_comes_to_the_same(tmp_path: Path) -> None:
    model = {"precision": "float32", "schedule": "constant", "warmup": 0, "optimizer": "muon"}
    ways = {"one": [(1, False, 9)], "several": [(2, True, 3), (1, False, 6), (4, True, 9)], "other": [(3, False, 9)]}
    losses = {}
    for name, legs in ways.items():
        for size, sharded, steps in legs:
            found = together(size, without_chance, tmp_path / name, model | {"steps": steps, "sharded": sharded})
            assert found == ["done"] * size, found
        losses[name] = lines_of(tmp_path / name)
    assert losses["several"] == pytest.approx(losses["one"], rel=1e-4)
    assert losses["other"] == pytest.approx(losses["one"], rel=1e-4)


def without_chance(world: World, folder: Path, changes: dict[str, Any]) -> str:
    loader = TinyLoader(rows=ROWS)
    return trainer(folder, model=TinyModel(dropout=0.0), loader=loader, world=world, **changes).run().ended


# What goes wrong in one process is known to all


def full_disk(world: World, folder: Path) -> Any:
    checkpoints = Checkpoints(folder, keep=2, every=1, back=1, world=world)
    tensors = {"model": {"weight": torch.full((2,), float(world.rank))}}
    rows = {"model": {"weight": 2 * world.size}}
    checkpoints.save(1, tensors, {}, rows)
    if world.rank == 1:
        tensors["model"]["weight"] = torch.empty(2, device="meta")  # cannot be written

        def cannot(*_: object) -> None:
            raise OSError(28, "No space left on device")

        import danlu.train.resume as room

        room._write = cannot  # type: ignore[assignment]
    try:
        checkpoints.save(2, tensors, {}, rows)
    except OSError as error:
        newest = checkpoints.newest()[0]
        return error.errno, newest.step if newest else None, sorted(path.name for path in folder.iterdir())
    return "saved"


def test_a_disk_that_is_full_for_one_is_full_for_all(tmp_path: Path) -> None:
    assert together(2, full_disk, tmp_path) == [(28, 1, ["step-00000001"])] * 2
    saved = Checkpoints(tmp_path, keep=2, every=1, back=1).newest()[0]
    assert saved
    assert saved.tensors("model")["weight"].tolist() == [0, 0, 1, 1]


def test_a_part_that_is_lost_or_foreign_is_seen(tmp_path: Path) -> None:
    together(2, full_disk, tmp_path)
    folder = tmp_path / "step-00000001"
    part = folder / "model-00002-of-00002.safetensors"
    raw = part.read_bytes()
    part.write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    with pytest.raises(DanluError, match="E1605"):
        verify(folder)
    part.unlink()
    with pytest.raises(DanluError, match="E1603"):
        verify(folder)
    part.write_bytes(raw)
    verify(folder)


def with_settings(world: World, folder: Path, differing: dict[int, dict[str, Any]]) -> Any:
    return trainer(folder, loader=TinyLoader(rows=ROWS), world=world, **differing.get(world.rank, {})).run()


def test_processes_told_different_things_stop_before_the_first_step(tmp_path: Path) -> None:
    for error in together(2, with_settings, tmp_path, {1: {"lr": 0.5}}):
        assert (error.code, error.found, error.possible) == ("E2103", ["lr=0.5"], ["lr=0.01"])
    for error in together(2, with_settings, tmp_path, {1: {"model": nn.Sequential(nn.Embedding(3, 3))}}):
        assert error.code == "E2103"
    assert not list(tmp_path.glob("checkpoints/*"))


def test_more_processes_than_rows(tmp_path: Path) -> None:
    for error in together(3, few_rows, tmp_path):
        assert (error.code, error.found, error.facts["rows"]) == ("E2104", 3, 2)
        assert error.text("mend", "en") == "make train.batch at least 3, or start ≤ 2 processes"


def few_rows(world: World, folder: Path) -> Any:
    return trainer(folder, loader=TinyLoader(rows=2), world=world).run()


class Asked(TinyLoader):
    """Sends one process a signal while its batch of a step is fetched."""

    def __init__(self, rank: int) -> None:
        super().__init__(rows=ROWS)
        self.rank = rank

    def stream(self, first: int) -> Iterator[Batch]:
        for step, batch in enumerate(super().stream(first), first):
            if step == 3 and self.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def left(world: World, folder: Path) -> Any:
    progress = trainer(folder, loader=Asked(world.rank), world=world).run()
    return progress.ended, progress.step


def test_a_signal_to_one_takes_all_along_and_saves_once(tmp_path: Path) -> None:
    assert together(2, left, tmp_path) == [("interrupted", 4)] * 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    events = [json.loads(line)["event"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert events == ["started", "interrupted"]


class Cramped:
    """An objective with room for three rows in one of the processes."""

    def __init__(self, rank: int) -> None:
        self.inner, self.rank = TokenObjective(), rank
        self.weights, self.counts = self.inner.weights, self.inner.counts

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if batch.rows > 3 and self.rank == 1:
            raise MemoryError("can't allocate memory")
        return self.inner(model, batch)


def cramped(world: World, folder: Path) -> Any:
    run = trainer(folder, loader=TinyLoader(rows=ROWS), objective=Cramped(world.rank), world=world, steps=2)
    return run.run().micro


def test_memory_that_runs_out_in_one_halves_the_pieces_of_all(tmp_path: Path) -> None:
    assert together(2, cramped, tmp_path) == [3, 3]


def slow_clock(world: World, folder: Path) -> Any:
    """One process's clock runs ten times as fast; the leader's counts."""
    ticks = iter(np.arange(0, 1e6, 0.5 if world.leads else 5.0))
    run = trainer(folder, loader=TinyLoader(rows=ROWS), world=world, steps=None, minutes=0.2, clock=lambda: next(ticks))
    return run.run().step


def test_the_leaders_clock_says_how_long_a_run_is(tmp_path: Path) -> None:
    one, other = together(2, slow_clock, tmp_path)
    assert one == other > 1


FAMILIES = ("bert-tiny", "gpt-tiny", "llama-tiny", "palm-tiny", "t5-tiny", "bart-tiny")


def family_gradients(world: World, start: str, sharded: bool) -> Any:
    """Whole gradients of a real model on a batch of random tokens, the rows of this process."""
    config = fresh(start, 64, width=16, depth=2, heads=2, length=16)[1]
    model = build(config, "cpu", 1)
    for module in model.modules():
        if isinstance(module, Dropout):
            module.p = 0.0
    tokens = (torch.arange(6 * 16).view(6, 16) * 7) % 60 + 1
    both = config.kind == "sequence_to_sequence"
    inputs = {"source": tokens, "target": tokens} if both else {"tokens": tokens}
    batch = Batch(inputs, {"tokens": tokens.roll(-1, 1)})
    layout = arranged(model, TokenObjective(), torch.device("cpu"), world, sharded)
    gradients = Gradients(layout, torch.float32, 0)
    gradients.take([batch.part(world.rank, world.size)], {"tokens": 96}, 0, 2)
    if not isinstance(layout, Shards):  # DDP begins with the second step, after a rehearsal
        layout.rehearsed(unused=False)
        gradients.forget()
        gradients.take([batch.part(world.rank, world.size)], {"tokens": 96}, 0, 2)
    return {name: whole(each.grad) for name, each in layout.trained.named_parameters() if each.grad is not None}


def test_every_family_can_be_copied_and_sharded() -> None:
    for start in FAMILIES:
        one = family_gradients(World(), start, False)
        for found in together(2, both_ways, start):
            assert isinstance(found, list), found
            for way in found:
                assert way.keys() == one.keys(), start
                for name, gradient in one.items():
                    torch.testing.assert_close(way[name], gradient, rtol=1e-5, atol=1e-6, msg=f"{start} {name}")


def both_ways(world: World, start: str) -> Any:
    return [family_gradients(world, start, sharded) for sharded in (False, True)]


def test_a_weight_without_rows_cannot_be_sharded() -> None:
    model = TinyModel()
    model.temperature = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(DanluError) as caught:
        Shards(model, TokenObjective(), torch.device("cpu"), World(0, 2))
    assert (caught.value.code, caught.value.found) == ("E2108", ["temperature"])
