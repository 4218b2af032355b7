"""What is left out before training, document by document, for all sources together: a stage of its own, done once.

The first pass judges (filters, test text, duplicates) and keeps a verdict a document in the cache; whoever reads the
text afterwards, to train a tokenizer or to tokenise, passes over what was judged. Nothing else changes.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from danlu.data.duplicates import Digest, Duplicates
from danlu.data.filters import fault
from danlu.data.grams import normal
from danlu.data.ledger import JUDGED, Ledger
from danlu.data.overlap import Kept, test_texts
from danlu.data.reading import Reading, Row
from danlu.data.settings import DataSettings, spoken
from danlu.data.sources import all_files, files_of, fingerprints, sources
from danlu.files import new_folder, replace_json
from danlu.voice import Voice

VERSION = 1  # of the verdicts; part of the key
LOOK = 1 << 20  # characters of a document that are looked at
MATTERS = (
    "sources", "language", "parallel", "format", "text", "columns", "documents", "encoding", "deduplicate", "filters",
    "overlap",
)  # fmt: skip
CODES = {reason: number for number, reason in enumerate(JUDGED, 1)}
NAMED = 20_000  # documents of which it is kept what they are like


@dataclass(frozen=True)
class Sieve:
    """verdicts: by source, a number a document; 0 for those that stay. like: (source, document) -> what it repeats."""

    key: str = ""
    verdicts: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    like: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def passed(self, name: str, rows: Iterator[Row], ledger: Ledger) -> Iterator[Row]:
        """The rows of a source without those of judged documents, which go into the ledger."""
        verdicts = self.verdicts.get(name)
        if verdicts is None:
            yield from rows
            return
        like = self.like.get(name, {})
        number = -1
        for row in rows:
            if row.begins:
                number += 1
                if verdicts[number]:
                    ledger.drop(JUDGED[verdicts[number] - 1], row.file, row.line, like.get(str(number), ""))
            if not verdicts[number]:
                yield row


def _no(count: int) -> None:
    """Nobody wants to know."""


EVERYTHING = Sieve()  # which lets it pass


class Seen:
    """One document as it is judged: the beginning of each of its sides, the digest of all of it."""

    def __init__(self, first: Row):
        self.file, self.line = first.file, first.line
        self.digest = Digest()
        self.size, self.kept = 0, dict[int, list[str]]()

    def add(self, row: Row) -> None:
        self.digest.add(normal(row.text))
        if self.size < LOOK:
            self.kept.setdefault(row.side, []).append(row.text)
            self.size += len(row.text)

    @property
    def sides(self) -> list[str]:
        return ["".join(each) for each in self.kept.values()]


@dataclass
class Asked:
    """Where each document stands that is looked for among the others, (N,) each."""

    files: dict[str, int] = field(default_factory=dict)
    part: "array[int]" = field(default_factory=lambda: array("L"))
    place: "array[int]" = field(default_factory=lambda: array("Q"))
    file: "array[int]" = field(default_factory=lambda: array("L"))
    line: "array[int]" = field(default_factory=lambda: array("Q"))

    def add(self, part: int, place: int, seen: Seen) -> None:
        self.part.append(part)
        self.place.append(place)
        self.file.append(self.files.setdefault(seen.file, len(self.files)))
        self.line.append(seen.line)

    def named(self, number: int) -> str:
        return f"{list(self.files)[self.file[number]]}:{self.line[number]}"


def read(
    settings: DataSettings, name: str, sieve: Sieve, ledger: Ledger, voice: Voice, advance: Callable[[int], None] = _no
) -> Iterator[Row]:
    """The rows of one source that are used."""
    return sieve.passed(name, Reading(settings, ledger, voice, advance).rows(files_of(settings)), ledger)


def sift(settings: DataSettings, voice: Voice) -> Sieve:
    """The verdicts on all documents of all sources, from the cache where they are there."""
    if not settings.sifts:
        return EVERYTHING
    found, tests = all_files(settings), sources(settings.decontaminate, settings)
    facts = [VERSION, fingerprints(found), fingerprints(tests), settings.model_dump(mode="json", include=set(MATTERS))]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    folder = settings.cache_folder / "sieves" / key
    return _opened(folder) or _made(folder, settings, voice)


def _made(folder: Path, settings: DataSettings, voice: Voice) -> Sieve:
    parts, total = settings.parts, sum(source.size for source in all_files(settings))
    names, several = list(parts), settings.deduplicate.kind != "none"
    tests = Kept.of(test_texts(sources(settings.decontaminate, settings), settings.encoding), settings.overlap)
    codes = [bytearray() for _ in parts]
    like: list[dict[str, str]] = [{} for _ in parts]
    asked = Asked()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as made, Duplicates(settings.deduplicate, made / "signatures") as duplicates:
        with voice.progress("sifting", "筛选", total) as bar:
            for number, part in enumerate(parts.values()):
                reading = Reading(part, Ledger(), voice.silenced(), bar.advance)
                for seen in _documents(reading.rows(files_of(part))):
                    reason, same = _judged(seen, part, tests)
                    if same and len(like[number]) < NAMED:
                        like[number][str(len(codes[number]))] = same
                    if several and not reason:
                        asked.add(number, len(codes[number]), seen)
                        duplicates.add(seen.digest.number, "\n".join(seen.sides))
                    codes[number].append(CODES.get(reason, 0))
        for later, repeat in duplicates.repeats().items():
            number, place = asked.part[later], asked.place[later]
            codes[number][place] = CODES[repeat.reason]
            if len(like[number]) < NAMED:
                like[number][str(place)] = asked.named(repeat.of)
        for number, each in enumerate(codes):
            (made / f"{number}.verdicts").write_bytes(each)
        replace_json(made / "like.json", {"parts": names, "like": like})
    return Sieve(folder.name, _arrays(names, codes), dict(zip(names, like, strict=True)))


def _opened(folder: Path) -> Sieve | None:
    """What an earlier run has kept; the folder is there as a whole or not at all."""
    try:
        kept = json.loads((folder / "like.json").read_bytes())
        names = [str(name) for name in kept["parts"]]
        codes = [(folder / f"{number}.verdicts").read_bytes() for number in range(len(names))]
        return Sieve(folder.name, _arrays(names, codes), dict(zip(names, kept["like"], strict=True)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _arrays(names: Sequence[str], codes: Sequence[bytes | bytearray]) -> dict[str, NDArray[np.uint8]]:
    return {name: np.frombuffer(each, np.uint8) for name, each in zip(names, codes, strict=True)}


def _documents(rows: Iterator[Row]) -> Iterator[Seen]:
    """Documents whole again, or as much of them as is looked at."""
    seen: Seen | None = None
    for row in rows:
        if row.begins or seen is None:
            if seen:
                yield seen
            seen = Seen(row)
        seen.add(row)
    if seen:
        yield seen


def _judged(seen: Seen, part: DataSettings, tests: Kept) -> tuple[str, str]:
    """Why a document goes, and what it is like."""
    languages = spoken(part)
    for side, text in enumerate(seen.sides):
        language = languages[side] if side < len(languages) else None
        if part.filters.any and (reason := fault(text, part.filters, language)):
            return reason, ""
        if same := tests.found_in(text) if len(tests.runs) else None:
            return "test text", same
    return "", ""
