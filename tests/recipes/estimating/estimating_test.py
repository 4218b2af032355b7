"""Estimates: arithmetic against torch's own counts and a real run, a score that is kept and learnt from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import danlu
from danlu.cli import main
from danlu.errors import DanluError
from danlu.models.build import build, parameters
from danlu.models.families import fresh
from danlu.recipes.estimating.arithmetic import activations, kept_by_block, on_machine, stacks, states, waiting, work
from danlu.recipes.estimating.estimate import estimate
from danlu.recipes.estimating.machines import find_machine, machines, on_name
from danlu.recipes.estimating.probe import Measured
from danlu.recipes.estimating.score import Score, correction, judged
from danlu.recipes.runs.call import Call
from danlu.train.settings import TrainSettings

Make = Callable[..., Call]
TRAIN = TrainSettings(batch=8, micro=4)


@pytest.mark.parametrize("start", ["bert-tiny", "gpt-tiny", "llama-tiny"])
def test_operations_are_those_that_torch_counts(start: str) -> None:
    config = fresh(start, 512)[1]
    model, tokens = build(config, "cpu"), torch.randint(512, (2, 64))
    with FlopCounterMode(display=False) as counter:
        model(tokens).sum().backward()
    full = config.model_copy(update={"transformer": config.transformer.model_copy(update={"causal": False})})
    assert 2 * 64 * work(full, 64, False) == pytest.approx(counter.get_total_flops(), rel=0.02)
    assert work(config, 64, True) == pytest.approx(work(config, 64, False) * 4 / 3)


@pytest.mark.parametrize("start", ["bert-tiny", "gpt-tiny", "llama-tiny"])
def test_a_block_keeps_what_is_reckoned(start: str) -> None:
    """In float32, without the attention weights that the CPU's road keeps and a GPU's kernel does not."""
    config = fresh(start, 512)[1]
    model, tokens = build(config, "cpu").train(), torch.randint(512, (2, 64))
    learnt = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in learnt:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = 2 * config.transformer.attention.heads * 64 * 64 * 4 * config.transformer.depth
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = model.tower(tokens)
    reckoned = 2 * 64 * sum(kept_by_block(stack, False) * stack.depth for stack in stacks(config))
    assert out.requires_grad
    assert reckoned == pytest.approx(sum(kept.values()) - weights, rel=0.05)


def test_memory_by_part() -> None:
    config = fresh("gpt2-tiny", 512)[1]
    count = parameters(config)
    whole = states(config, TRAIN.model_copy(update={"optimizer": "adamw"}), 4)
    assert (whole.weights, whole.gradients, whole.optimizer) == (4 * count, 4 * count, 8 * count)
    shared = states(config, TRAIN.model_copy(update={"optimizer": "adamw", "sharded": True}), 4)
    assert (shared.weights, shared.optimizer) == (count, 2 * count)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(10, 10))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(10, 10)
    optimizer.step()
    held = [each for each in optimizer.state[optimizer.param_groups[0]["params"][0]].values() if each.ndim]
    assert sum(each.nbytes for each in held) == 8 * 100
    big, small = (activations(config, TRAIN, rows, 128, True) for rows in (8, 4))
    again = activations(config, TRAIN.model_copy(update={"recompute": True}), 8, 128, True)
    assert big > small
    assert again < big


def test_named_machines() -> None:
    assert all(
        (machine.source and machine.bf16 >= machine.float32) or not machine.bf16 for machine in machines().values()
    )
    assert find_machine("H100") == machines()["h100"]
    assert on_name("NVIDIA H100 PCIe") == machines()["h100-pcie"]
    assert on_name("NVIDIA H100 80GB HBM3") == machines()["h100"]
    assert on_name("NVIDIA GeForce RTX 4090") == machines()["rtx-4090"]
    assert on_name("Voodoo 2") is None
    with pytest.raises(DanluError) as caught:
        find_machine("h10")
    assert (caught.value.code, caught.value.nearest) == ("E2112", "h100")


def test_more_devices_take_less_time_until_they_wait() -> None:
    config, machine = fresh("gpt2-large", 50_000)[1], machines()["h100"]
    train = TrainSettings(batch=4096, micro=8)
    seconds = [on_machine(machine, config, train, 1024, devices, True)[1] for devices in (1, 2, 8, 512)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] / seconds[2] == pytest.approx(8, rel=0.1)  # two thirds of the computing hide it
    assert seconds[0] / seconds[3] < 400
    assert waiting(machine, config, train, 1, 0.0) == 0
    assert waiting(machine, config, train, 16, 0.0) > waiting(machine, config, train, 8, 0.0) * 7
    whole, shared = (
        on_machine(machine, config, train.model_copy(update={"sharded": way}), 1024, 8, True)[0]
        for way in (False, True)
    )
    assert shared.total < whole.total


def test_layers_that_were_not_measured() -> None:
    one = Measured(100.0, 50.0, 1.0, 0.5, 0.2, 0.1, 0.0, 2.0, 3.0)
    two = Measured(140.0, 50.0, 1.5, 0.4, 0.3, 0.1, 0.1, 2.0, 3.0)
    many = one.deeper(two, 11)
    assert (many.memory, many.piece, many.update, many.base, many.tokens) == (500.0, 6.0, 0.5, 50.0, 2.0)


def test_a_correction_is_learnt_from_this_machines_runs() -> None:
    runs = [
        Score(name, machine, {"memory": 100.0, "seconds": 10.0}, {"memory": 110.0, "seconds": took})
        for name, machine, took in (("a", "here", 20.0), ("b", "there", 90.0), ("c", "here", 22.0))
    ]
    assert correction([], "seconds", "here") == 1
    assert correction(runs, "seconds", "here") == pytest.approx(2.1)
    rows = judged(runs)
    assert rows[0]["seconds"]["corrected_error"] == rows[0]["seconds"]["error"] == -0.5
    assert rows[2]["seconds"]["corrected_error"] == pytest.approx(20 / 22 - 1)
    assert rows[1]["memory"]["corrected"] == 100  # what was learnt here says nothing of there


def test_an_estimate_is_compared_with_the_run(text: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    shape = {"model": {"width": 32, "depth": 3, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}
    rest = {"train": {"steps": 6, "batch": 4}, "data": {"length": 32}, "samples": {"count": 1, "tokens": 4}} | shape
    said = estimate(make("gpt-tiny", text, calibrate=0.1, **rest)).metrics
    assert said["memory"] > said["weights"] > 0
    run = danlu.pretrain("gpt-tiny", text, quiet=True, output="runs/x", **rest)
    beside = json.loads((run.path / "estimate.json").read_text())
    assert beside["predicted"] == {"memory": said["memory"], "seconds": said["seconds"]}
    assert beside["measured"]["memory"] > 1e8
    assert beside["measured"]["seconds"] > 0
    capsys.readouterr()
    assert main(["estimate", "score", "--json", "lang=en"]) == 0
    shown = capsys.readouterr().out
    assert "runs/x: memory" in shown
    rows = json.loads(shown.splitlines()[-1])["metrics"]["runs"]
    assert [row["name"] for row in rows] == ["runs/x"]


def test_a_vocabulary_with_markers_of_its_own(text: Path, make: Make) -> None:
    """T5's tokenizer has a hundred markers of spans beside the entries it learnt."""
    rest = {"train": {"steps": 2, "batch": 4}, "data": {"length": 32}, "tokenizer": {"vocabulary": 300}}
    shape = {"model": {"width": 32, "depth": 1, "heads": 2}, "samples": {"count": 0}}
    assert estimate(make("t5-tiny", text, calibrate=0.1, **rest, **shape)).metrics["seconds"] > 0


def test_an_estimate_for_other_machines(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["estimate", "gpt-small", str(text), "train.steps=100", "train.batch=512", "data.length=1024", "lang=en"]
    found = []
    for more in ((), ("devices=8",), ("devices=8", "train.sharded=true")):
        assert main([*words, "on=h100", *more, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"])
    one, eight, shared = found
    assert eight["seconds"] < one["seconds"] / 5
    assert shared["weights"] == one["weights"] // 8
    assert main([*words, "on=abacus"]) == 2
    assert "E2112" in capsys.readouterr().err
