"""What is trained on, chosen by, and tested on: pure functions of the text, so that nothing leaks and nothing moves."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from danlu.tasks.task import Row

TEXTS = ("text", "text_b", "context", "question", "source", "tokens", "messages", "instruction", "input")
LISTED = 100  # places named in the ledger


def fingerprint(row: Row) -> int:
    """64 bits of a row's text, its case, spaces and width aside: equal texts fall on one side."""
    parts = [row.values[role] for role in TEXTS if row.values.get(role) is not None]
    return hash_of("\x1f".join(" ".join(map(str, part)) if isinstance(part, list) else str(part) for part in parts))


def hash_of(text: str) -> int:
    plain = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode("utf8", "replace"), digest_size=8).digest(), "little")


def group_of(row: Row) -> int:
    """Rows of one group stay on one side: questions about one text, else equal texts."""
    context = row.values.get("context")
    return hash_of(str(context)) if context is not None else fingerprint(row)


def divide(rows: Sequence[Row], share: float, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """(the rest, about `share` of the rows): by the hash of the text, groups whole; at least one row on each side where
    there are two groups."""
    if share <= 0:
        return list(rows), []
    groups = [hash_of(f"{seed}:{group_of(row)}") for row in rows]
    limit = max(share * 2.0**64, min(groups))
    chosen = [group <= limit for group in groups]
    if all(chosen):
        last = max(groups)
        chosen = [group != last for group in groups]
    rest = [row for row, out in zip(rows, chosen, strict=True) if not out]
    return rest, [row for row, out in zip(rows, chosen, strict=True) if out]


@dataclass(frozen=True)
class Duplicate:
    """A row to train on whose text stands in another part, or twice with different answers."""

    file: str
    line: int
    part: str
    other_file: str
    other_line: int


def across(training: Sequence[Row], others: Mapping[str, Sequence[Row]]) -> list[Duplicate]:
    """Rows to train on whose text is among those to choose by or to test on."""
    places = {fingerprint(row): (part, row) for part, rows in others.items() for row in rows}
    found = ((row, places.get(fingerprint(row))) for row in training)
    return [Duplicate(row.file, row.line, twin[0], twin[1].file, twin[1].line) for row, twin in found if twin]


def contradictions(training: Sequence[Row], answer: str) -> list[Duplicate]:
    """Rows to train on with the text of an earlier row and another answer."""
    first: dict[int, Row] = {}
    found = []
    for row in training:
        twin = first.setdefault(fingerprint(row), row)
        if twin is not row and twin.values.get(answer) != row.values.get(answer):
            found.append(Duplicate(row.file, row.line, "training", twin.file, twin.line))
    return found
