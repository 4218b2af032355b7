"""What is trained on, chosen by, and tested on: pure functions of the text, so that nothing leaks and nothing moves."""

import hashlib
import unicodedata
from collections.abc import Sequence

from danlu.tasks.task import Row

TEXTS = ("text", "text_b", "context", "question", "source", "tokens")


def fingerprint(row: Row) -> int:
    """64 bits of a row's text, its case, spaces and width aside: equal texts fall on one side."""
    parts = (row.values[role] for role in TEXTS if row.values.get(role) is not None)
    text = "\x1f".join(" ".join(part) if isinstance(part, (list, tuple)) else str(part) for part in parts)
    plain = "".join(unicodedata.normalize("NFKC", text).casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode("utf8", "replace"), digest_size=8).digest(), "little")


def divide(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(the rest, about `share` of the rows)."""
    limit = share * 2.0**64
    chosen = [fingerprint(row) < limit for row in rows]
    return ([row for row, out in zip(rows, chosen, strict=True) if not out],
            [row for row, out in zip(rows, chosen, strict=True) if out])  # fmt: skip
