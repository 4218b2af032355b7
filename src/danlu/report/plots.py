"""Line charts and bars as plain markup: SVG curves stretched over a frame, words beside them that keep their size.

Colours come from the page's style sheet, so a chart is right in light and in dark. Hovering (or touching) shows the
values at that place; there is no script.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from danlu.report.html import Html, element, join
from danlu.report.scale import Curve, Floats, Span, log_ticks, place, short, smoothed, thinned, ticks, x_span, y_span

COLOURS = 6
STRIPS = 72  # places of a chart that answer to hovering


@dataclass(frozen=True)
class Line:
    """One curve. `smooth` draws the values faintly and their running mean on top; `dots` is for few, dear values."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Literal["line", "smooth", "dots"] = "line"


@dataclass(frozen=True)
class Mark:
    """A vertical line: something happened at `x`."""

    name: str
    x: float


@dataclass(frozen=True)
class Bar:
    """One value, with an interval where one was measured and a level to compare with where one is known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    level: float | None = None


def colour(index: int) -> str:
    return f"--k:var(--c{index % COLOURS})"


def lines(
    curves: Sequence[Line],
    x_name: str,
    marks: Sequence[Mark] = (),
    log: bool = False,
    zero: bool = False,
    height: int = 210,
) -> Html:
    """A chart of curves over a common x axis. `log`: logarithmic y; `zero`: y starts at nothing.

    Values that are not finite leave a gap. A few wild values (a loss spike) stop at the
    frame rather than flattening the rest.
    """
    raw = [_values(line) for line in curves]
    drawn = [(x, smoothed(y) if line.style == "smooth" else y) for line, (x, y) in zip(curves, raw, strict=True)]
    wide, tall = x_span([x for x, _ in drawn]), y_span(raw, drawn, log, zero)
    paths = [_rules(tall, log)]
    for index, (line, faint, strong) in enumerate(zip(curves, raw, drawn, strict=True)):
        if line.style == "smooth":
            paths.append(_path(faint, wide, tall, log, "raw", index))
        paths.append(_path(strong, wide, tall, log, "dots" if line.style == "dots" else None, index))
    for index, alike in enumerate(_kinds(marks).values(), len(curves)):
        paths += [_mark(mark, wide, index) for mark in alike]
    names = ", ".join(line.name for line in curves)
    svg = element("svg", *paths, viewBox="0 0 1000 1000", preserveAspectRatio="none", role="img", aria_label=names)
    frame = element(
        "div", svg, *_labels(wide, tall, log, x_name), *_strips(curves, drawn, marks, wide, x_name),
        class_="chart", style=f"--h:{height}px",
    )  # fmt: skip
    return join([_legend(curves, marks) if len(curves) + len(marks) > 1 else None, frame])


def bars(rows: Sequence[Bar], low: float = 0.0, high: float | None = None, form: str = "{:.1f}") -> Html:
    """Horizontal bars with intervals as whiskers; a dashed line stands at each bar's level of comparison."""
    top = high if high is not None else max((max(bar.value, bar.high or bar.value) for bar in rows), default=1.0) or 1.0

    def at(value: float) -> float:
        return round(100 * min(max((value - low) / (top - low or 1.0), 0.0), 1.0), 2)

    cells: list[Html] = []
    for bar in rows:
        interval = ""
        parts = [element("span", class_="fill", style=f"width:{at(bar.value)}%")]
        if bar.low is not None and bar.high is not None:
            interval = f" [{form.format(bar.low)}, {form.format(bar.high)}]"
            parts.append(
                element(
                    "span", class_="between", style=f"left:{at(bar.low)}%;width:{round(at(bar.high) - at(bar.low), 2)}%"
                )
            )
        if bar.level is not None:
            parts.append(element("span", class_="level", style=f"left:{at(bar.level)}%"))
        title = f"{bar.name}: {form.format(bar.value)}{interval}"
        cells.append(element("span", bar.name, class_="name"))
        cells.append(element("span", *parts, class_="track", title=title, style=colour(1)))
        cells.append(element("span", form.format(bar.value), element("span", interval, class_="dim"), class_="value"))
    return element("div", *cells, class_="bars")


def shares(parts: Sequence[tuple[str, float]]) -> Html:
    """One bar cut into the parts of a whole, with a legend."""
    whole = sum(value for _, value in parts) or 1.0
    bar = [
        element("span", title=f"{name}: {value / whole:.1%}", style=f"{colour(index + 2)};flex:{value / whole:.4f}")
        for index, (name, value) in enumerate(parts)
        if value
    ]
    names = [
        element("span", f"{name} {value / whole:.1%}", class_="dots", style=colour(index + 2))
        for index, (name, value) in enumerate(parts)
    ]
    return join([element("div", *bar, class_="share"), element("div", *names, class_="legend")])


def _values(line: Line) -> Curve:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    y = np.where(np.isfinite(y), y, math.nan)
    return (x, y) if line.style == "dots" else thinned(x, y)


def _path(curve: Curve, wide: Span, tall: Span, log: bool, kind: str | None, index: int) -> Html:
    words, pen = [], False
    for across, value in zip(*curve, strict=True):
        if not math.isfinite(value) or (log and value <= 0):
            pen = False
            continue
        up = min(max(1000 - 1000 * place(value, tall, log), 0), 1000)  # a wild value stops at the frame
        words.append(f"{'L' if pen else 'M'}{1000 * place(across, wide):.0f} {up:.0f}{'h0' if kind == 'dots' else ''}")
        pen = kind != "dots"
    return element("path", d="".join(words), class_=kind, style=colour(index))


def _rules(tall: Span, log: bool) -> Html:
    levels = log_ticks(*tall) if log else ticks(*tall)
    return element(
        "path", d="".join(f"M0 {1000 - 1000 * place(at, tall, log):.0f}h1000" for at in levels), class_="rule"
    )


def _labels(wide: Span, tall: Span, log: bool, x_name: str) -> list[Html]:
    levels = log_ticks(*tall) if log else ticks(*tall)
    down = [element("u", short(at), class_="y", style=f"bottom:{100 * place(at, tall, log):.2f}%") for at in levels]
    along = [at for at in ticks(*wide, 7) if place(at, wide) < 0.86]
    across = [element("u", short(at), class_="x", style=f"left:{100 * place(at, wide):.2f}%") for at in along]
    return [*down, *across, element("u", x_name, class_="name")]


def _strips(
    curves: Sequence[Line], drawn: Sequence[Curve], marks: Sequence[Mark], wide: Span, x_name: str
) -> list[Html]:
    """Invisible columns over the chart, each showing the values next to its middle."""
    places = np.unique(np.concatenate([*(x for x, _ in drawn), np.empty(0)]))
    count = min(STRIPS, len(places))
    strips = []
    for index in range(count):
        middle = (index + 0.5) / count
        x = wide[0] + middle * (wide[1] - wide[0])
        reach = (wide[1] - wide[0]) / count / 2
        near = _near(places, x)
        words = [f"{x_name} {near:,.0f}" if near.is_integer() else f"{x_name} {short(near)}"]
        for line, (across, values) in zip(curves, drawn, strict=True):
            full = np.isfinite(values)
            if full.any():
                at = int(np.argmin(np.abs(across[full] - x)))
                if line.style != "dots" or abs(across[full][at] - x) <= reach:
                    words.append(f"{line.name} {_exact(values[full][at])}")
        words += [f"▸ {mark.name}" for mark in marks if abs(mark.x - x) <= reach]
        style = f"left:{100 * index / count:.2f}%;width:{100 / count:.2f}%"
        strips.append(
            element("i", element("b", "\n".join(words)), class_="left" if middle > 0.55 else None, style=style)
        )
    return strips


def _near(places: Floats, x: float) -> float:
    return float(places[np.argmin(np.abs(places - x))])


def _exact(value: float) -> str:
    return f"{value:.4f}" if 0.01 <= abs(value) < 100 else short(value)


def _kinds(marks: Sequence[Mark]) -> dict[str, list[Mark]]:
    kinds: dict[str, list[Mark]] = {}
    for mark in marks:
        kinds.setdefault(mark.name, []).append(mark)
    return kinds


def _mark(mark: Mark, wide: Span, index: int) -> Html:
    return element("path", d=f"M{1000 * place(mark.x, wide):.0f} 0v1000", class_="mark", style=colour(index))


def _legend(curves: Sequence[Line], marks: Sequence[Mark]) -> Html:
    names = [
        element("span", line.name, class_="dots" if line.style == "dots" else None, style=colour(index))
        for index, line in enumerate(curves)
    ]
    names += [
        element("span", name, class_="mark", style=colour(index + len(curves)))
        for index, name in enumerate(_kinds(marks))
    ]
    return element("div", *names, class_="legend")
