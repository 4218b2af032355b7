"""Axes and curves as numbers: round ticks, spans, thinning, smoothing, short ways to write a number."""

import math
from collections.abc import Sequence

import numpy as np

POINTS = 400  # of a drawn curve
Span = tuple[float, float]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Curve = tuple[Floats, Floats]


def smoothed(values: Floats, reach: float = 0.012) -> Floats:
    """A straight line fitted around every point, near ones weighing more (Gauss, `reach` of the curve); gaps stay gaps.

    Unlike a running mean it does not lag behind a falling loss. Source: local linear regression (Cleveland 1979).
    """
    full = np.flatnonzero(np.isfinite(values))
    known = values[full]
    if len(full) < 3:
        return values
    away = (full[None, :] - full[:, None]).astype(float)
    weight = np.exp(-0.5 * (away / max(len(values) * reach, 1.0)) ** 2)
    total, first, second = weight.sum(1), (weight * away).sum(1), (weight * away * away).sum(1)
    out = np.full(len(values), math.nan)
    out[full] = (second * (weight @ known) - first * ((weight * away) @ known)) / (total * second - first * first)
    return out


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two values, about `count` of them."""
    rough = (high - low) / max(count, 1)
    if not (math.isfinite(rough) and rough > 0):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999)
    first = math.ceil(low / size - 1e-9)
    return [round(size * at, 12) for at in range(first, math.floor(high / size + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis; all between two positive values."""
    if high / low < 6:
        return ticks(low, high)
    steps = (1, 2, 3, 5) if high / low < 60 else (1, 3) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def short(value: float) -> str:
    """A number for an axis or a tile: 1.2k, 35M, 0.0003, 4.71."""
    if not math.isfinite(value):
        return "—"
    size = abs(value)
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit * 0.9995:
            return f"{value / unit:.3g}{name}"
    if size and size < 1e-3:
        mantissa, power = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{value:.3g}" if size < 100 else f"{value:.0f}"


def thinned(x: Floats, y: Floats) -> Curve:
    """At most POINTS points: means over equal stretches."""
    if len(x) <= POINTS:
        return x, y
    cuts = np.linspace(0, len(x), POINTS + 1).astype(int)
    full = np.isfinite(y)
    count = np.add.reduceat(full.astype(float), cuts[:-1])
    total = np.add.reduceat(np.where(full, y, 0.0), cuts[:-1])
    means = np.where(count > 0, total / np.maximum(count, 1), math.nan)
    return np.add.reduceat(x, cuts[:-1]) / np.diff(cuts), means


def x_span(xs: Sequence[Floats]) -> Span:
    """From the first to the last place of all curves; never empty."""
    every = np.concatenate([*xs, np.empty(0)])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    return low, high if high > low else low + 1.0


def y_span(raw: Sequence[Curve], drawn: Sequence[Curve], log: bool, zero: bool) -> Span:
    """Room for all values, save wild ones that would flatten the rest."""
    every = np.concatenate([*(_ends(values, log) for _, values in (*raw, *drawn)), np.empty(0)])
    if not len(every):
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(every.min()), float(every.max())
    if log:
        return (low / 1.04, high * 1.04) if high > low else (low / 2, high * 2)
    if zero:
        low = min(low, 0.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if zero else low - room), high + room


def _ends(values: Floats, log: bool) -> Floats:
    """The least and the greatest value, neither farther out than the middle 98 % are wide."""
    values = values[np.isfinite(values) & (values > 0 if log else True)]
    if not len(values):
        return values
    low, high = np.percentile(values, (1, 99))
    least = max(low - (high - low), low / 2) if log else low - (high - low)
    return np.array([max(values.min(), least), min(values.max(), high + (high - low))])


def place(value: float, span: Span, log: bool = False) -> float:
    """Where a value stands in a span: 0 at its low end, 1 at its high end."""
    low, high = (math.log(end) for end in span) if log else span
    return ((math.log(value) if log else value) - low) / (high - low)
