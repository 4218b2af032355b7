"""Text tokenised once, kept as shards that are mapped into memory.

A corpus is a folder in the cache, named by the content of its files, the tokenizer's fingerprint and the settings that
matter. Its shards are cut by the bytes of the text, so that they are known before anything is tokenised: each is
`NUMBER-DIGEST.safetensors`, named by its own SHA-256. What a killed run finished is found by name and not done again;
what is damaged or cut short does not fit its name and is. `corpus.json` is written last.
"""

import errno
import hashlib
import itertools
import json
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from danlu.data.corpus import BETWEEN, Corpus, Pieces, Tokens
from danlu.data.ledger import Ledger
from danlu.data.packing import masked_frame
from danlu.data.reading import Reading, Row
from danlu.data.sifting import EVERYTHING, Sieve
from danlu.data.sources import DataSettings, Source, files_of, fingerprints, resolved, sources
from danlu.errors import DanluError
from danlu.files import held, replace_file, replace_json, sweep
from danlu.voice import Voice

VERSION = 2  # of the shards; part of the key
SHARD_BYTES = 64 << 20  # of text in a shard
BATCH_BYTES = 2 << 20  # of text given to the tokenizer at once: enough for all its threads
MATTERS = ("format", "text", "columns", "documents", "encoding", "broken", "parallel")
ARRAYS = ("tokens", "lengths", "sizes", "hashes", "begins", "sides")


class Encoder(Protocol):
    """What is asked of a tokenizer."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def special(self) -> Mapping[str, int]: ...

    def encode_many(self, texts: list[str]) -> list[list[int]]: ...


def prepare(
    settings: DataSettings, tokenizer: Encoder, voice: Voice, paths: Sequence[str] | None = None,
    said: set[str] | None = None, sieve: Sieve = EVERYTHING, name: str = "",
) -> Corpus:  # fmt: skip
    """The corpus behind `paths` (those of the settings where not given), read from the cache where it is there.

    sieve: what has been judged, and `name`: what it calls this source. said: what an earlier call has told of the data,
    which is not told again. E1211 where there is no text at all, E1701 where the disk is full; the other errors are
    those of the sources.
    """
    found, use, folder = _place(settings, tokenizer, voice, paths, said, sieve, name)

    def waiting() -> None:
        voice.say("another run is preparing this data; waiting for it", "另一次运行正在准备此数据，等待其完成")

    with held(folder / "lock", waiting=waiting):
        sweep(folder)
        manifest = _manifest(folder, voice) or _build(folder, found, use)
        assert manifest is not None
        return _opened(folder, manifest)


def prepare_part(
    settings: DataSettings, tokenizer: Encoder, voice: Voice, part: int, parts: int,
    paths: Sequence[str] | None = None, sieve: Sieve = EVERYTHING, name: str = "",
) -> tuple[int, int]:  # fmt: skip
    """Tokenise the shards `part`, `part` + `parts`, ... of what `prepare` would: (those that are there, all of them).

    Parts need not know of each other, nor run at once, nor on one machine, only see one cache. Each reads all of the
    text, which takes a tenth of the time that tokenising does, because where a shard begins depends on what comes
    before it. What is there already is not done again.
    """
    found, use, folder = _place(settings, tokenizer, voice, paths, set(), sieve, name)
    with held(folder / "lock", shared=True), held(folder / f"lock-{part + 1}-of-{parts}"):
        manifest = _manifest(folder, voice) or _build(folder, found, use, range(part, 1 << 40, parts))
        if manifest is not None:
            return len(manifest["shards"]), len(manifest["shards"])
        names = {path.name.partition("-")[0] for path in folder.glob("*.safetensors")}
        return len(names), int((folder / "shards").read_text())


def _place(
    settings: DataSettings, tokenizer: Encoder, voice: Voice, paths: Sequence[str] | None, said: set[str] | None,
    sieve: Sieve, name: str,
) -> "tuple[Sequence[Source], _Use, Path]":  # fmt: skip
    """The files, how they are read, and the folder that this makes."""
    settings = resolved(settings)
    found = files_of(settings) if paths is None else sources(paths, settings)
    use = _Use(settings, tokenizer, voice, set() if said is None else said, sieve, name)
    folder = settings.cache_folder / "corpora" / _key(use, found)
    folder.mkdir(parents=True, exist_ok=True)
    return found, use, folder


class _Use(NamedTuple):
    """What is read, and by what."""

    settings: DataSettings
    tokenizer: Encoder
    voice: Voice
    said: set[str]
    sieve: Sieve
    name: str


def _key(use: _Use, found: Sequence[Source]) -> str:
    chosen = use.settings.model_dump(mode="json", include=set(MATTERS)) | {"apart": use.settings.sifts}
    facts = [VERSION, SHARD_BYTES, fingerprints(found), use.tokenizer.fingerprint, chosen]
    if use.sieve.key:
        facts += [use.sieve.key, use.name]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _manifest(folder: Path, voice: Voice) -> Mapping[str, Any] | None:
    """What corpus.json says, if every shard is there and as it was written."""
    try:
        manifest: Mapping[str, Any] = json.loads((folder / "corpus.json").read_bytes())
        names = [str(name) for name in manifest["shards"]]
        if manifest["sha256"] != _digest(manifest):
            raise ValueError("not what was written")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        voice.say("corpus.json is damaged and made anew", "corpus.json 已损坏，将重新生成")
        return None
    return manifest if all(_kept(folder, number, voice) == name for number, name in enumerate(names)) else None


def _digest(manifest: Mapping[str, Any]) -> str:
    facts = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _kept(folder: Path, number: int, voice: Voice) -> str | None:
    """The name of a finished shard; one whose content does not fit its name is removed."""
    for path in sorted(folder.glob(f"{number:05d}-*.safetensors")):
        if _name(number, path.read_bytes()) == path.name:
            return path.name
        voice.say(f"{path.name} is damaged and made anew", f"{path.name} 已损坏，将重新生成")
        path.unlink()
    return None


def _name(number: int, content: bytes) -> str:
    return f"{number:05d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"


def _build(folder: Path, found: Sequence[Source], use: _Use, mine: range | None = None) -> Mapping[str, Any] | None:
    """Tokenise what is not there yet, then write corpus.json.

    mine: the shards to tokenise; None where others are missing then, whose number is written down.
    """
    count = _Count(Ledger(read=0))
    names: list[str] = []
    missing = False
    total = sum(source.size for source in found)
    with use.voice.progress("tokenising", "分词", total) as bar, ThreadPoolExecutor(2) as threads:
        reading = Reading(use.settings, count.ledger, use.voice, bar.advance, use.said)
        stream = _bordered(use.sieve.passed(use.name, reading.rows(list(found)), count.ledger))
        while first := next(stream, None):
            number, rows = len(names), _up_to(SHARD_BYTES, itertools.chain([first], stream))
            if name := _kept(folder, number, use.voice):
                places = [_Place(row.file, row.line, row.begins) for row, _ in rows]
                lengths = _arrays(folder / name)["lengths"]
            elif mine is not None and number not in mine:
                deque(rows, 0)
                missing = True
                places, lengths = [], np.zeros(0, np.uint32)
            else:
                places, arrays = _tokenised(rows, use.tokenizer, threads)
                name, lengths = _write(folder, number, arrays), arrays["lengths"]
            count.add(places, lengths.tolist())
            names.append(name or "")
    if missing:
        replace_file(folder / "shards", str(len(names)))
        return None
    ledger = count.closed()
    if not count.tokens:
        raise DanluError("E1211", where=[source.name for source in found], found=dict(ledger.dropped))
    manifest = {"version": VERSION, "shards": names, "ledger": ledger.to_json()}
    with _room(folder):
        replace_json(folder / "corpus.json", manifest | {"sha256": _digest(manifest)})
    return manifest


def _bordered(rows: Iterator[Row]) -> Iterator[Row]:
    """A piece without text stands between two sides of a translation."""
    side = 0
    for row in rows:
        if row.side != side and not row.begins:
            yield Row("", row.file, row.line, begins=False, side=BETWEEN)
        side = row.side
        yield row


class _Place(NamedTuple):
    """Where a piece of text stood."""

    file: str
    line: int
    begins: bool


@dataclass
class _Count:
    """Documents as they pass: those that leave no token are dropped, the others trained on."""

    ledger: Ledger
    tokens: int = 0
    current: _Place | None = None
    current_tokens: int = 0

    def add(self, places: Sequence[_Place], lengths: Sequence[int]) -> None:
        for place, length in zip(places, lengths, strict=True):
            if place.begins:
                self._end()
                self.current, self.current_tokens = place, 0
            self.current_tokens += length
            self.tokens += length

    def closed(self) -> Ledger:
        self._end()
        self.current = None
        return self.ledger.check()

    def _end(self) -> None:
        if self.current and self.current_tokens:
            self.ledger.trained += 1
        elif self.current:
            self.ledger.drop("no tokens", self.current.file, self.current.line)


def _up_to(size: int, rows: Iterator[Row]) -> Iterator[tuple[Row, bytes]]:
    """Rows with their UTF-8 bytes until there are `size` of these; a shard depends on nothing but the text."""
    done = 0
    for row in rows:
        raw = row.text.encode()
        yield row, raw
        done += len(raw)
        if done >= size:
            return


def _tokenised(
    rows: Iterator[tuple[Row, bytes]], tokenizer: Encoder, threads: ThreadPoolExecutor
) -> tuple[list[_Place], dict[str, NDArray[Any]]]:
    """One shard. The tokenizer has threads of its own; a second batch waits while the first becomes an array."""
    kind = np.uint16 if tokenizer.vocabulary <= 2**16 else np.uint32
    places: list[_Place] = []
    sizes, hashes, under_way = array("Q"), array("Q"), deque[Future[tuple[NDArray[Any], NDArray[Any]]]]()
    sides = bytearray()
    done: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for batch in _batches(rows):
        for row, raw in batch:
            places.append(_Place(row.file, row.line, row.begins))
            sizes.append(len(raw))
            sides.append(row.side)
            hashes.append(int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest()))
        under_way.append(threads.submit(_encoded, [row.text for row, _ in batch], tokenizer, kind))
        if len(under_way) > 2:
            done.append(under_way.popleft().result())
    done += [future.result() for future in under_way]
    return places, {
        "tokens": np.concatenate([tokens for tokens, _ in done]),
        "lengths": np.concatenate([lengths for _, lengths in done]),
        "sizes": np.array(sizes, np.uint64),
        "hashes": np.array(hashes, np.uint64),
        "begins": np.array([place.begins for place in places], bool),
        "sides": np.frombuffer(sides, np.uint8),
    }


def _batches(rows: Iterator[tuple[Row, bytes]]) -> Iterator[list[tuple[Row, bytes]]]:
    batch, size = [], 0
    for row, raw in rows:
        batch.append((row, raw))
        size += len(raw)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encoded(texts: list[str], tokenizer: Encoder, kind: type[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    encoded = tokenizer.encode_many(texts)
    if "" in texts:
        frame = masked_frame(tokenizer.special)
        between = [*frame.suffix, *frame.prefix]
        encoded = [ids if text else between for ids, text in zip(encoded, texts, strict=True)]
    lengths = np.array([len(tokens) for tokens in encoded], np.uint32)
    flat = np.fromiter(itertools.chain.from_iterable(encoded), kind, count=int(lengths.sum()))
    return flat, lengths


def _write(folder: Path, number: int, arrays: Mapping[str, NDArray[Any]]) -> str:
    content = safetensors.numpy.save(dict(arrays))
    name = _name(number, content)
    with _room(folder):
        replace_file(folder / name, content)
    return name


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DanluError("E1701", where=folder, needed=f"{SHARD_BYTES >> 20} MB") from error


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a shard, mapped into memory."""
    mapped = np.memmap(path, np.uint8, mode="r")
    start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
    header = json.loads(mapped[8:start].tobytes())
    kinds = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "BOOL": np.bool_}

    def array_of(name: str) -> NDArray[Any]:
        first, last = header[name]["data_offsets"]
        return mapped[start + first : start + last].view(kinds[header[name]["dtype"]])

    return {name: array_of(name) for name in ARRAYS}


def _opened(folder: Path, manifest: Mapping[str, Any]) -> Corpus:
    """The corpus of a prepared folder; documents without tokens are left out."""
    shards = [_arrays(folder / name) for name in manifest["shards"]]
    columns = {name: np.concatenate([shard[name] for shard in shards]) for name in ARRAYS if name != "tokens"}
    lengths = columns["lengths"].astype(np.int64)
    sizes = columns["sizes"].astype(np.int64)
    pieces = Pieces(
        np.cumsum(lengths) - lengths, lengths, sizes, columns["hashes"], columns["begins"], columns["sides"]
    )
    owners = np.cumsum(pieces.begins) - 1
    kept = np.bincount(owners, lengths)[owners] > 0
    tokens = Tokens(tuple(shard["tokens"] for shard in shards))
    return Corpus(tokens, pieces[kept], Ledger.from_json(manifest["ledger"]))
