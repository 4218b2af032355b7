"""Gaps in a text: masks as people type them, sentinels as T5 reads them, and what was written put in its place."""

import re
from collections.abc import Sequence

from danlu.text.tokenizer import Tokenizer

MASKS = re.compile(r"\[MASK\]|<mask>|\[mask\]")  # what people type


def has_gap(text: str) -> bool:
    """Whether something is missing in a text."""
    return bool(MASKS.search(text)) or "<extra_id_" in text


def marked(text: str, tokenizer: Tokenizer) -> str:
    """The text with the tokenizer's own mask, or one sentinel after the other, wherever somebody typed a mask."""
    if own := tokenizer.roles.get("mask"):
        return MASKS.sub(own, text)
    names = (f"<extra_id_{number}>" for number in range(len(tokenizer.sentinels)))
    return MASKS.sub(lambda typed: next(names, typed[0]), text)


def folded(ids: Sequence[int], written: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """A text whose sentinels have given way to what was written for them; those without an answer go."""
    spans: dict[int, list[int]] = {sentinel: [] for sentinel in tokenizer.sentinels}
    current: list[int] = []
    for token in written:
        if token in spans:
            current = spans[token] = []
        else:
            current.append(token)
    return [each for token in ids for each in spans.get(token, [token])]
