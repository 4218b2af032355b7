"""Batches of about one length: each example once an epoch, the same for ever, the largest first."""

import numpy as np
import pytest
import torch

from danlu.data.batch import Batch
from danlu.tasks.loader import TaskLoader
from danlu.tasks.task import Example, collate

LENGTHS = [4 + (7 * n) % 37 for n in range(300)]


def loader(rows: int = 8, seed: int = 0, tokens: int | None = None, shuffle: bool = True) -> TaskLoader:
    examples = [Example([number] * length, target=number) for number, length in enumerate(LENGTHS)]

    def made(some: list[Example]) -> Batch:
        return collate(some, 0, {"x": torch.tensor([each.target for each in some])})

    return TaskLoader(examples, made, rows, seed, tokens=tokens, shuffle=shuffle)  # type: ignore[arg-type]


@pytest.mark.parametrize("shuffle", [True, False])
def test_each_example_comes_once_an_epoch(shuffle: bool) -> None:
    found = loader(shuffle=shuffle)
    steps = found.steps_per_epoch
    first = np.concatenate([found.indices(step) for step in range(steps)])
    assert sorted(first.tolist()) == list(range(300))
    second = np.concatenate([found.indices(step) for step in range(steps, 2 * steps)])
    assert sorted(second.tolist()) == list(range(300))
    assert (first.tolist() == second.tolist()) is not shuffle


def test_a_batch_depends_on_its_step_alone() -> None:
    one, other = loader(), loader()
    later = other.batch(55)
    for step in range(60):
        one.batch(step)
    assert torch.equal(one.batch(55).inputs["tokens"], later.inputs["tokens"])
    stream = loader().stream(55)
    assert torch.equal(next(stream).inputs["tokens"], later.inputs["tokens"])
    assert not torch.equal(loader(seed=1).batch(55).targets["x"][:4], later.targets["x"][:4])


def test_hardly_anything_is_padded() -> None:
    found = loader(rows=16)
    batches = [found.batch(step) for step in range(found.steps_per_epoch)]
    whole = sum(batch.inputs["tokens"].numel() for batch in batches)
    assert sum(LENGTHS) / whole > 0.93


def test_the_largest_batch_comes_first() -> None:
    found = loader(tokens=200)
    sizes = [found.batch(step).inputs["tokens"].numel() for step in range(found.steps_per_epoch)]
    assert sizes[0] == max(sizes)


def test_a_budget_of_tokens_is_kept() -> None:
    found = loader(rows=50, tokens=160)
    batches = [found.batch(step).inputs["tokens"] for step in range(found.steps_per_epoch)]
    assert max(batch.numel() for batch in batches) <= 160
    assert max(map(len, batches)) > 8  # short rows: more of them
    assert len(loader(rows=1, tokens=10).batch(0).inputs["tokens"]) == 1  # a row longer than the budget stands alone
