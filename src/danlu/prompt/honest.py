"""How far a prompt's score depends on what nobody chose: which examples were drawn, in which words it asks, in which
order the examples stand."""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from danlu.prompt.scorer import Scorer
from danlu.prompt.search.ground import few
from danlu.prompt.spec import Demonstration, Order, PromptSpec
from danlu.tasks.task import Row

SEEDS = (13, 21, 42, 87, 100)  # as in the papers on few examples
ORDERS: tuple[Order, ...] = ("given", "reversed", "shuffled")


class Variation(NamedTuple):
    """One prompt of many that could as well have been used, and the share of rows that it gets right."""

    seed: int
    template: int
    order: Order
    value: float


class Spread(NamedTuple):
    """mean and std over all variations; by: the std of the means of each seed, template, order."""

    mean: float
    std: float
    worst: float
    best: float
    by: dict[str, float]


def demonstrated(spec: PromptSpec, rows: Sequence[Row], count: int, seed: int, order: Order = "given") -> PromptSpec:
    """The prompt with `count` of these rows as its demonstrations, the classes taking turns."""
    names = spec.fields or ("text",)
    pool = [
        Demonstration(values={name: str(row.values[name]) for name in names}, label=str(row.values["label"]))
        for row in rows
    ]
    shown = spec.demonstrations.model_dump() | {"pool": pool, "count": count, "order": order, "seed": seed}
    return spec.but(demonstrations=shown, templates=[_with_place(line, spec) for line in spec.lines])


def variations(
    scorer: Scorer, specs: Sequence[PromptSpec], pool: Sequence[Row], rows: Sequence[Row], shots: int,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Variation]:  # fmt: skip
    """Seeds × templates × orders, each asked on the same rows. Without demonstrations seeds and orders change nothing;
    in a model of two towers orders do not."""
    right = [str(row.values["label"]) for row in rows]
    orders = ORDERS if shots and scorer.kind not in ("dual", "pictures") else ORDERS[:1]
    for seed in seeds if shots else seeds[:1]:
        shown = few(pool, shots, seed) if shots else []
        for template, spec in enumerate(specs):
            for order in orders:
                asked = demonstrated(spec, shown, len(shown), seed, order) if shots else spec
                said = scorer.scores(asked, rows).argmax(1).tolist()
                value = sum(spec.classes[place] == each for place, each in zip(said, right, strict=True)) / len(rows)
                yield Variation(seed, template, order, value)


def spread(found: Sequence[Variation]) -> Spread:
    """What variations come to."""
    values = [each.value for each in found]
    by = {}
    for place, name in enumerate(("seed", "template", "order")):
        groups = {each[place] for each in found}
        means = [statistics.fmean(each.value for each in found if each[place] == group) for group in groups]
        by[name] = statistics.stdev(means) if len(means) > 1 else 0.0
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, min(values), max(values), by)


def _with_place(line: str, spec: PromptSpec) -> str:
    """A line with a place for demonstrations, where it has a mask and none."""
    return line if "{demos}" in line or "{mask}" not in line else "{demos}" + line


__all__ = ["ORDERS", "SEEDS", "Spread", "Variation", "demonstrated", "spread", "variations"]
