import math
import re

import numpy as np
import pytest

from danlu.report.plots import Bar, Line, Mark, bars, lines, shares
from danlu.report.scale import log_ticks, short, smoothed, ticks


def points(chart: str, index: int = 1) -> list[tuple[float, float]]:
    """The points of the index-th path; path 0 is the grid."""
    path = re.findall(r'<path d="([^"]*)"', chart)[index]
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", path)]


def test_a_straight_line_is_straight_and_rises() -> None:
    drawn = points(lines([Line("a", range(5), range(5))], "step"))
    assert [x for x, _ in drawn] == [0, 250, 500, 750, 1000]
    assert np.allclose(np.diff([y for _, y in drawn]), np.diff([y for _, y in drawn])[0], atol=1)
    assert drawn[0][1] > drawn[-1][1], "SVG counts from the top"


def test_log_makes_halving_straight() -> None:
    curve = Line("a", range(6), [2.0**-at for at in range(6)])
    steps = np.diff([y for _, y in points(lines([curve], "step", log=True))])
    assert np.ptp(steps) <= 1
    assert np.ptp(np.diff([y for _, y in points(lines([curve], "step"))])) > 100


def test_zero_begins_at_nothing() -> None:
    curve = Line("a", [0, 1], [90.0, 100.0])
    assert points(lines([curve], "x", zero=True))[0][1] < 200
    assert points(lines([curve], "x"))[0][1] > 800


def test_gaps_stay_gaps_and_log_leaves_out_what_is_not_positive() -> None:
    values = [1.0, math.nan, 2.0, 3.0, -1.0, math.inf]
    path = re.findall(r'<path d="([^"]*)"', lines([Line("a", range(6), values)], "x", log=True))[1]
    assert path.count("M") == 2
    assert path.count("L") == 1


@pytest.mark.parametrize(
    "curve",
    [Line("a", [], []), Line("a", [3], [1.0]), Line("a", [1, 2], [math.nan] * 2), Line("a", [1, 2], [5.0, 5.0])],
)
@pytest.mark.parametrize("log", [True, False])
def test_little_or_nothing_to_draw(curve: Line, log: bool) -> None:
    assert "nan" not in lines([curve], "x", log=log)


def test_long_curves_stay_small_and_keep_their_mean() -> None:
    rng = np.random.default_rng(0)
    chart = lines([Line("a", range(200_000), 5 + rng.normal(size=200_000))], "step")
    assert len(chart) < 40_000
    assert len(points(chart)) == 400


def test_smoothing_follows_a_slope_without_lag_and_calms_noise() -> None:
    slope = np.linspace(10, 2, 300)
    assert np.allclose(smoothed(slope), slope)
    noise = np.random.default_rng(0).normal(size=300)
    assert smoothed(noise).std() < 0.5 * noise.std()
    noise[7] = math.nan
    assert np.flatnonzero(np.isnan(smoothed(noise))).tolist() == [7]


def test_smooth_draws_both_curves() -> None:
    curve = Line("a", range(50), np.random.default_rng(0).normal(size=50).tolist(), style="smooth")
    assert 'class="raw"' in lines([curve], "x")
    assert 'class="raw"' not in lines([Line("a", curve.x, curve.y)], "x")


def test_hovering_shows_exact_values_and_marks() -> None:
    chart = lines(
        [Line("loss", [10, 20], [1.23456, 0.5]), Line("b", [10, 20], [1, 2], style="dots")],
        "step",
        [Mark("resumed", 20)],
    )
    assert "step 10\nloss 1.2346\nb 1.0000" in chart
    assert "▸ resumed" in chart
    assert 'class="mark"' in chart


def test_a_spike_does_not_flatten_the_rest() -> None:
    values = [3.0 + 0.01 * (at % 7) for at in range(300)]
    values[150] = 1e6
    heights = [y for _, y in points(lines([Line("a", range(300), values)], "x"))]
    assert min(heights) == 0
    assert np.ptp(np.delete(heights, 150)) > 400


def test_names_are_escaped() -> None:
    chart = lines([Line("<b>", [1], [1])], "<i>", [Mark("<u>", 1)]) + bars([Bar("<b>", 1)]) + shares([("<b>", 1)])
    assert not re.search(r"<b>(?!step|&lt;)", chart)
    assert "<u>" not in chart


def test_bars_show_value_interval_and_level() -> None:
    text = bars([Bar("a", 50, 40, 60, level=25)], high=100)
    assert "width:50.0%" in text
    assert "left:40.0%;width:20.0%" in text
    assert "left:25.0%" in text
    assert "a: 50.0 [40.0, 60.0]" in text
    assert "between" not in bars([Bar("a", 50)])


def test_shares_add_up() -> None:
    assert [float(part) for part in re.findall(r"flex:([\d.]+)", shares([("a", 3), ("b", 1), ("c", 0)]))] == [
        0.75,
        0.25,
    ]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.52, [0.2, 0.3, 0.4, 0.5]), (5, 5, [5])]
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


def test_log_ticks_are_round_and_inside() -> None:
    assert log_ticks(0.9, 30) == pytest.approx([1, 2, 3, 5, 10, 20, 30])
    assert log_ticks(1, 1e6) == pytest.approx([10.0**power for power in range(7)])
    assert log_ticks(3, 10) == [4, 6, 8, 10]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234, "1.23k"),
        (999.9, "1k"),
        (35e6, "35M"),
        (0.00025, "2.5e-4"),
        (0.25, "0.25"),
        (math.nan, "—"),
        (-2000, "-2k"),
        (120, "120"),
    ],
)
def test_short(value: float, text: str) -> None:
    assert short(value) == text
