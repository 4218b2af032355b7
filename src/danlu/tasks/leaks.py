"""Rows of one file that stand in another: the same, or nearly."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from danlu.data.duplicates import Duplicates
from danlu.data.settings import DeduplicateSettings
from danlu.tasks.splits import TEXTS, fingerprint, hash_of
from danlu.tasks.task import Row

NEAR = DeduplicateSettings(kind="near", similarity=0.7, words=2)  # of texts as short as sentences


@dataclass(frozen=True)
class Leak:
    """A row of a later part whose text stands in an earlier one. near: not word for word. agrees: its answer, too."""

    file: str
    line: int
    part: str
    other_file: str
    other_line: int
    other_part: str
    near: bool
    agrees: bool


def leaks(parts: Mapping[str, Sequence[Row]], answer: str) -> list[Leak]:
    """Between parts, in their order. answer: the role that holds the right one. A row is told of once, with the first
    row it repeats; rows that repeat others of their own part are none."""
    names = [name for name, rows in parts.items() for _ in rows]
    rows = [row for some in parts.values() for row in some]
    found = []
    for number, (first, near) in sorted(twins(rows).items()):
        if names[number] != names[first]:
            row, other = rows[number], rows[first]
            agrees = row.values.get(answer) == other.values.get(answer)
            found.append(Leak(row.file, row.line, names[number], other.file, other.line, names[first], near, agrees))
    return found


def groups(rows: Sequence[Row]) -> list[int]:
    """For each row, the number of the first row that says the same or nearly the same, or shares its context: what must
    stay on one side."""
    first = list(range(len(rows)))
    contexts: dict[int, int] = {}
    for number, row in enumerate(rows):
        if (context := row.values.get("context")) is not None:
            first[number] = contexts.setdefault(hash_of(str(context)), number)
    for number, (other, _) in sorted(twins(rows).items()):
        first[number] = min(first[number], first[other])
    return [_root(first, number) for number in range(len(rows))]


def twins(rows: Sequence[Row]) -> dict[int, tuple[int, bool]]:
    """number -> (the earlier row it repeats, whether only nearly)."""
    with tempfile.TemporaryDirectory() as folder, Duplicates(NEAR, Path(folder) / "signatures") as seen:
        for row in rows:
            seen.add(fingerprint(row), " ".join(_texts(row)))
        return {number: (each.of, each.reason != "duplicate") for number, each in seen.repeats().items()}


def _texts(row: Row) -> list[str]:
    values = [row.values[role] for role in TEXTS if row.values.get(role) is not None]
    return [" ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value) for value in values]


def _root(first: list[int], number: int) -> int:
    while first[number] != number:
        number = first[number]
    return number
