"""How well a language model does on a text, or on minimal pairs."""

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from danlu.adapt import room
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.ledger import Ledger
from danlu.data.loader import Loader
from danlu.data.reading import Reading
from danlu.data.settings import spoken
from danlu.data.shards import prepare
from danlu.data.sources import DataSettings, sources
from danlu.errors import DanluError
from danlu.evaluate.intervals import Comparison, Interval, compare
from danlu.evaluate.pairs import read_pairs, score_pairs
from danlu.evaluate.score import TokenScore, score_batches, score_texts
from danlu.generate.engine import Engine
from danlu.recipes.pretraining.objectives import choose
from danlu.recipes.starting.start import languages_of
from danlu.settings import Data
from danlu.tasks.metrics import MEASURES
from danlu.voice import Voice

FEW = 30  # documents; below, the interval is taken over blocks of tokens
BLOCKS = 16, 512  # tokens in a block, at least and at most


@dataclass(frozen=True)
class Scored:
    """What was measured; values: one number a row for each measure and what it weighs, for a comparison of two models.
    unit: what a row is."""

    measured: Mapping[str, Interval]
    unit: str
    values: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    more: Data = field(default_factory=dict)


def score(
    engine: Engine,
    data: DataSettings,
    noise: CorruptionSettings,
    batch: int,
    limit: int | None,
    seed: int,
    voice: Voice,
) -> Scored:
    """Minimal pairs, a text that goes on, or a text with masks, as the files and the model want it."""
    pairs = [source.path for source in sources(data.paths, data) if holds_pairs(source.path)]
    if pairs:
        found = score_pairs(engine, [pair for place in pairs for pair in read_pairs(place, limit)], voice)
        parts = {name: each for name, each in found.plain().items() if name != "mean"}
        shares = [1 / len(found.wins) / len(wins) for wins in found.wins.values() for _ in wins]
        wins = [share * win for share, win in zip(shares, chain(*found.wins.values()), strict=True)]
        return Scored({"pairs": found.mean}, "pairs", {"pairs": (wins, shares)}, {"pairs": parts})
    if engine.kind == "causal":
        return _causal(engine, data, limit, voice)
    return _masked(engine, data, noise, batch, limit, seed, voice)


def compared(first: Scored, second: Scored) -> dict[str, Comparison]:
    """The second model against the first, row by row, in what both were asked alike. E1821 where there is nothing."""
    found = {}
    for name, (values, weights) in second.values.items():
        theirs = first.values.get(name)
        if theirs and len(theirs[0]) == len(values) and list(theirs[1]) == list(weights):
            larger = MEASURES[name].larger_is_better
            found[name] = compare(theirs[0], values, weights, larger_is_better=larger)
    if not found:
        raise DanluError("E1821", found=f"{first.unit}, {second.unit}")
    return found


def _causal(engine: Engine, data: DataSettings, limit: int | None, voice: Voice) -> Scored:
    texts = list(islice(documents(data, voice), limit))
    block = None
    if len(texts) < FEW:
        least, most = BLOCKS
        block = min(max(sum(map(len, engine.tokenizer.encode_many(texts))) // FEW, least), most)
    found = score_texts(engine, texts, block=block)
    measured = {"loss": found.loss(), "perplexity": found.perplexity(), "bits_per_byte": found.bits_per_byte()}
    bits = [nats / math.log(2) for nats in found.losses]
    values = {"loss": (found.losses, found.targets), "bits_per_byte": (bits, found.sizes)}
    return Scored(measured, "blocks" if block else "documents", values)


def _masked(
    engine: Engine,
    data: DataSettings,
    noise: CorruptionSettings,
    batch: int,
    limit: int | None,
    seed: int,
    voice: Voice,
) -> Scored:
    words = Words.of(engine.tokenizer, engine.checkpoint.family.start, languages_of(engine.model.config))
    corpus = replace(prepare(data, engine.tokenizer, voice), languages=spoken(data))
    length = data.length or min(room(engine.model) or 512, 512)
    if noise.kind == "auto":
        noise = noise.model_copy(update=choose({}, "auto", engine.checkpoint.family).corruption)
    rows = pack(corpus, length, noise, words)
    loader = Loader(rows, corruption(noise, words), batch, seed, shuffle=False)
    steps = loader.steps_per_epoch if limit is None else min(loader.steps_per_epoch, limit)
    result: TokenScore = score_batches(engine.model, (loader.batch(step) for step in range(steps)))
    measured = {"loss": result.loss(), "perplexity": result.perplexity(), "masked_accuracy": result.accuracy()}
    values: dict[str, tuple[Sequence[float], Sequence[float]]] = {
        "loss": (result.losses, result.targets), "masked_accuracy": (result.right, result.targets),
    }  # fmt: skip
    return Scored(measured, "rows", values)


def documents(data: DataSettings, voice: Voice) -> Iterator[str]:
    """Whole documents."""
    parts: list[str] = []
    for row in Reading(data, Ledger(), voice).rows(sources(data.paths, data)):
        if parts and row.begins:
            yield "".join(parts)
            parts = []
        parts.append(row.text)
    if parts:
        yield "".join(parts)


def holds_pairs(path: Path) -> bool:
    """Whether a file's first line is a minimal pair."""
    if not path.name.removesuffix(".gz").endswith((".jsonl", ".json")):
        return False
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf8") as file:
            row = json.loads(file.readline())
    except (OSError, ValueError, EOFError, RecursionError):
        return False
    return isinstance(row, dict) and {"sentence_good", "sentence_bad"} <= row.keys()
