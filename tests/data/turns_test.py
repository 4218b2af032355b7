"""Whose turn it is, batches that grow, rows that become longer: all from the number of the step alone."""

from collections import Counter

import numpy as np
import pytest
import torch

from danlu.data.batch import Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.loader import Growth, Loader
from danlu.data.turns import Course, Turns, titled, whole

WORDS = Words(500, {"pad": 0, "start": 1, "separator": 2, "mask": 3})


class Counting:
    """Batches that say whose they are, and which."""

    def __init__(self, name: int, epoch: int = 5) -> None:
        self.name, self.steps_per_epoch = name, epoch

    def batch(self, step: int) -> Batch:
        return Batch({"tokens": torch.tensor([[self.name, step]])}, {"tokens": torch.tensor([[step]])})


def said(turns: Turns | Course, step: int) -> tuple[int, int]:
    name, own = turns.batch(step).inputs["tokens"][0].tolist()
    return name, own


@pytest.mark.parametrize("weights", [{"a": 1.0, "b": 1.0}, {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 3.0, "b": 1e-6}])
def test_turns_come_as_often_as_their_weights_and_evenly(weights: dict[str, float]) -> None:
    turns = Turns({name: Counting(number) for number, name in enumerate(weights)}, weights)
    steps = 2 * len(turns.order) + 7
    whose = [turns.whose(step) for step in range(steps)]
    total = sum(weights.values())
    for name, weight in weights.items():
        own = [step for owner, step in whose if owner == name]
        assert own == list(range(len(own))), "every batch of a loader once, in order"
        so_far = np.cumsum([owner == name for owner, _ in whose])
        assert np.abs(so_far - np.arange(1, steps + 1) * weight / total).max() < len(weights)


def test_targets_go_by_the_turns_name_and_any_step_can_be_asked_for() -> None:
    turns = Turns({"mlm": Counting(0), "tlm": Counting(1)}, {"mlm": 1.0, "tlm": 1.0})
    assert [list(turns.batch(step).targets) for step in (0, 1, 2)] == [["mlm"], ["tlm"], ["mlm"]]
    streamed = [batch.inputs["tokens"].tolist() for batch in turns.stream(3, 6)]
    assert streamed == [turns.batch(step).inputs["tokens"].tolist() for step in (3, 4, 5)]
    assert titled("rtd", {"tokens": 1, "replaced": 2}) == {"rtd_tokens": 1, "rtd_replaced": 2}


def test_accumulated_batches_share_a_turn() -> None:
    turns = Turns({"a": Counting(0), "b": Counting(1)}, {"a": 1.0, "b": 1.0}, every=3)
    assert [said(turns, step) for step in range(9)] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (0, 4), (0, 5)
    ]  # fmt: skip


def test_whole_weights_show_each_batch_of_an_evaluation_once() -> None:
    loaders = {"a": Counting(0, 6), "b": Counting(1, 4)}
    turns = Turns(loaders, {name: loader.steps_per_epoch for name, loader in loaders.items()})
    seen = Counter(said(turns, step) for step in range(turns.steps_per_epoch))
    assert seen == Counter([(0, step) for step in range(6)] + [(1, step) for step in range(4)])


def test_whole_numbers() -> None:
    assert whole([1.0, 1.0]) == [1, 1]
    assert whole([0.5, 0.25, 0.25]) == [2, 1, 1]
    assert whole([1 / 3, 1 / 3, 1 / 3]) == [1, 1, 1]
    assert whole([0.9999999, 1e-9])[1] == 1


def test_a_course_goes_from_loader_to_loader() -> None:
    course = Course([(3, Counting(0)), (2, Counting(1))], Counting(2))
    assert [said(course, step) for step in range(7)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [batch.inputs["tokens"].tolist() for batch in course.stream(4, 6)] == [[[1, 1]], [[2, 0]]]


def test_batches_grow_evenly_and_leave_no_row_out() -> None:
    random = np.random.default_rng(0)
    settings = CorruptionSettings(kind="shift")
    corpus = Corpus.of([random.integers(5, 500, size=25).tolist() for _ in range(200)])
    rows = pack(corpus, 16, settings, WORDS)
    plain = Loader(rows, corruption(settings, WORDS), 8, 1)
    grown = Loader(rows, corruption(settings, WORDS), 8, 1, growth=Growth(2, 8, 6))
    sizes = [grown.batch(step).rows for step in range(9)]
    assert sizes == [2, 3, 4, 5, 6, 7, 8, 8, 8]
    samples = np.concatenate([grown.samples(step)[1] for step in range(9)])
    assert np.array_equal(samples, np.concatenate([plain.samples(step)[1] for step in range(9)])[: len(samples)])
    assert torch.equal(next(grown.stream(4)).inputs["tokens"], grown.batch(4).inputs["tokens"])
