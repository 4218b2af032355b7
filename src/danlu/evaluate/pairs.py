"""Minimal pairs: does the model hold the sound sentence to be likelier than the unsound one beside it?

A causal model is asked for the log-probability of the whole sentence, a masked one for its pseudo-log-likelihood
(Warstadt et al. 2020, BLiMP; Salazar et al. 2020). Chance is one half.
"""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from danlu.errors import DanluError
from danlu.evaluate.intervals import Interval, bootstrap, mean_of_groups
from danlu.generate.engine import Engine
from danlu.voice import Voice

PORTION = 512  # pairs between two words on progress


@dataclass(frozen=True)
class Pair:
    good: str
    bad: str
    paradigm: str
    group: str = ""


@dataclass(frozen=True)
class PairScore:
    """Accuracy of each paradigm, of each group of paradigms, and their mean, every paradigm counting the same.

    wins: of each pair of a paradigm, 1, 0, or 1/2 for a tie.
    """

    mean: Interval
    paradigms: Mapping[str, Interval]
    groups: Mapping[str, Interval]
    wins: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        def each(parts: Mapping[str, Interval]) -> dict[str, Any]:
            return {name: interval.plain() for name, interval in parts.items()}

        return {"mean": self.mean.plain(), "groups": each(self.groups), "paradigms": each(self.paradigms)}


def read_pairs(path: Path, limit: int | None = None) -> list[Pair]:
    """BLiMP's JSON lines (.jsonl or .jsonl.gz): sentence_good, sentence_bad, UID, linguistics_term.

    `limit`: at most so many pairs of a paradigm, evenly spaced. E1810 names the line that is no pair.
    """
    paradigms: dict[str, list[Pair]] = {}
    for pair in _pairs(path):
        paradigms.setdefault(pair.paradigm, []).append(pair)
    if not paradigms:
        raise DanluError("E1810", where=path, found="no line")
    return [pair for some in paradigms.values() for pair in _spaced(some, limit)]


def score_pairs(engine: Engine, pairs: Sequence[Pair], voice: Voice, bf16: bool = False) -> PairScore:
    """Ask a model about every pair; a tie counts half. E1802 for an encoder-decoder: it scores answers, not texts."""
    if engine.kind == "sequence_to_sequence":
        raise DanluError("E1802")
    wins: dict[str, list[float]] = {}
    groups: dict[str, set[str]] = {}
    with voice.progress("minimal pairs", "最小对立对", len(pairs)) as bar:
        for start in range(0, len(pairs), PORTION):
            some = pairs[start : start + PORTION]
            scores = engine.score([text for pair in some for text in (pair.good, pair.bad)], bf16=bf16)
            for pair, good, bad in zip(some, scores[::2], scores[1::2], strict=True):
                wins.setdefault(pair.paradigm, []).append((good > bad) + 0.5 * (good == bad))
                groups.setdefault(pair.group, set()).add(pair.paradigm)
            bar.advance(len(some))
    values = {paradigm: np.array(each) for paradigm, each in wins.items()}
    return PairScore(
        mean=mean_of_groups(list(values.values())),
        paradigms={paradigm: bootstrap(each) for paradigm, each in sorted(values.items())},
        groups={
            group: mean_of_groups([values[name] for name in sorted(names)])
            for group, names in sorted(groups.items())
            if group
        },
        wins=wins,
    )


def _pairs(path: Path) -> Iterator[Pair]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _pair(line, path, number)
    except (OSError, EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise DanluError("E1810", where=path, found=error) from error


def _pair(line: str, path: Path, number: int) -> Pair:
    try:
        row = json.loads(line)
        good, bad = row["sentence_good"], row["sentence_bad"]
        if not (isinstance(good, str) and isinstance(bad, str)):
            raise TypeError("a sentence is no text")
        return Pair(good, bad, str(row.get("UID", "pairs")), str(row.get("linguistics_term", "")))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise DanluError("E1810", where=f"{path}:{number}", found=line.strip()[:80]) from error


def _spaced(pairs: list[Pair], limit: int | None) -> list[Pair]:
    if limit is None or len(pairs) <= limit:
        return pairs
    return [pairs[at * len(pairs) // limit] for at in range(limit)]
