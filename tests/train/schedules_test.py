"""The values of every schedule, as the papers have them."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from tiny import lines_of, trainer

from danlu.train.schedules import ScheduleName, factor
from danlu.train.settings import TrainSettings


@pytest.mark.parametrize("name", get_args(ScheduleName))
def test_all_rise_evenly_and_never_rise_again(name: Any) -> None:
    assert factor(name, 0.0, 0.1) == 0.0
    assert factor(name, 0.05, 0.1) == pytest.approx(0.5)
    assert factor(name, 0.1, 0.1) == pytest.approx(1.0)
    values = [factor(name, done / 100, 0.1, floor=0.1) for done in range(10, 101)]
    assert values == sorted(values, reverse=True)
    ends = {"constant": 1.0, "inverse_sqrt": math.sqrt(0.1)}
    assert values[-1] == pytest.approx(ends.get(name, 0.1))
    held = [factor(name, done / 100, 0.1, hold=0.3) for done in range(10, 41)]
    assert held == [1.0] * 31


@pytest.mark.parametrize(
    ("name", "done", "expected", "course"),
    [
        ("linear", 0.55, 0.5, {"warmup": 0.1}),
        ("linear", 0.55, 0.55, {"warmup": 0.1, "floor": 0.1}),  # OPT: to a tenth
        ("cosine", 0.325, 0.5 + 0.5 * math.cos(math.pi / 4), {"warmup": 0.1}),
        ("cosine", 0.5, 0.55, {"warmup": 0.0, "floor": 0.1}),
        ("cosine", 0.9, 0.1, {"warmup": 0.00125, "floor": 0.1, "until": 260 / 300}),  # GPT-3: 260B of 300B tokens
        ("polynomial", 0.5, 0.25, {"warmup": 0.0, "power": 2.0}),
        ("polynomial", 0.5, 0.5, {"warmup": 0.0}),
        ("inverse_sqrt", 0.4, 0.5, {"warmup": 0.1}),  # Vaswani et al. 2017
        ("inverse_sqrt", 0.01, 1.0, {"warmup": 0.0, "hold": 0.02}),  # T5: at first constant
        ("inverse_sqrt", 0.5, 0.2, {"warmup": 0.0, "hold": 0.02}),
        ("wsd", 0.8, 1.0, {"warmup": 0.0}),
        ("wsd", 0.85, 0.5, {"warmup": 0.0}),
        ("wsd", 0.625, 0.5, {"warmup": 0.1, "hold": 0.4}),
        ("constant", 1.0, 1.0, {"warmup": 0.1}),
    ],
)
def test_values(name: Any, done: float, expected: float, course: dict[str, float]) -> None:
    assert factor(name, done, **course) == pytest.approx(expected)


def test_t5s_rate_is_the_papers_relative_step() -> None:
    """min(1e-2, 1 / sqrt(k)) with 10,000 steps of a run of 2**19: Shazeer and Stern 2018, section 8.2."""
    total = 2**19
    for step in (1, 5_000, 10_000, 40_000, 500_000):
        rate = 1e-2 * factor("inverse_sqrt", step / total, 0.0, hold=10_000 / total)
        assert rate == pytest.approx(min(1e-2, step**-0.5), rel=1e-6)


def test_a_hold_of_so_many_steps_in_a_run(tmp_path: Path) -> None:
    trainer(tmp_path, steps=20, warmup=0.0, hold=10.0, schedule="linear", lr=1.0, guard={"window": 1000}).run()
    rates = lines_of(tmp_path, "lr")
    assert rates[:10] == [1.0] * 10
    assert rates[10:] == pytest.approx([1 - (step - 0.5) / 10 for step in range(1, 11)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "inverse_sqrt", "warmup": 0.0},
        {"weight_decay": "rate"},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"minutes": 1.0, "lengths": {16: 0.5}},
        {"minutes": 1.0, "first_batch": 2},
        {"lengths": {16: 1.0}},
        {"lengths": {0: 0.5}},
    ],
)
def test_courses_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainSettings(**wrong)
