"""`danlu evaluate START DATA`: a base model on a text, or on minimal pairs."""

import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pydantic import Field

from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.ledger import Ledger
from danlu.data.loader import Loader
from danlu.data.reading import Reading
from danlu.data.shards import prepare
from danlu.data.sources import DataSettings, resolved, sources
from danlu.errors import DanluError
from danlu.evaluate.intervals import Interval
from danlu.evaluate.pairs import read_pairs, score_pairs
from danlu.evaluate.score import TokenScore, score_batches, score_texts
from danlu.generate.engine import Engine
from danlu.recipes.call import Answer, Call, Common
from danlu.recipes.objectives import choose
from danlu.recipes.runs import Run, add_results, is_run
from danlu.recipes.start import load_engine
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data

PORTION = 16_384  # characters of a long document that are scored as one row
FEW = 30  # documents; below, long ones are cut so that an interval can be taken over their parts
MEASURES = {
    "loss": ("loss (nats a token)", "损失（每词元 nat）"),
    "perplexity": ("perplexity", "困惑度"),
    "bits_per_byte": ("bits a byte", "每字节比特数"),
    "masked_accuracy": ("accuracy at masks", "掩码处准确率"),
    "pairs": ("minimal pairs", "最小对立对"),
}


class Evaluate(Common):
    """limit: at most so many documents, or pairs of each paradigm. The corruption is that of masked models."""

    data: DataSettings = DataSettings()
    corruption: CorruptionSettings = CorruptionSettings()
    batch: int = Field(16, ge=1)
    limit: int | None = Field(None, ge=1)


def evaluate(call: Call) -> Answer:
    """The verb. Results of a run are written into its evaluation.json, report and card."""
    settings = call.build(Evaluate)
    start, path = call.take("START", "DATA", optional=1)
    assert start
    paths = (path,) if path else settings.data.paths
    if not paths:
        raise DanluError("E1005", word="DATA", possible=["START", "DATA"])
    data = resolved(settings.data.model_copy(update={"paths": tuple(paths)}))
    found = sources(data.paths, data)
    if call.dry_run:
        return call.rehearse(settings.model_copy(update={"data": data}))
    engine = load_engine(start, settings.device)
    name = ", ".join(Path(path).name for path in paths)
    pairs = [source.path for source in found if holds_pairs(source.path)]
    more: Data = {}
    if pairs:
        score = score_pairs(engine, [pair for place in pairs for pair in read_pairs(place, settings.limit)], call.voice)
        measured = {"pairs": score.mean}
        more = {"pairs": {part: score.plain()[part] for part in ("groups", "paradigms")}}
    elif engine.kind != "causal":
        measured = masked(engine, settings, data, call)
    else:
        measured = causal(engine, settings, data, call)
    for measure, interval in measured.items():
        sure = interval.low <= interval.high  # a single row has no interval
        between = f"  [{interval.low:.4f}, {interval.high:.4f}]" if sure else ""
        call.voice.fact(call.voice.pick(*MEASURES[measure]), f"{interval.value:.4f}{between}")
    rows = [{"name": measure, "data": name, **interval.plain()} for measure, interval in measured.items()]
    return Answer(run_of(start), {row["name"]: row for row in rows}, write_down(start, rows, more, call))


def causal(engine: Engine, settings: Evaluate, data: DataSettings, call: Call) -> dict[str, Interval]:
    score = score_texts(engine, list(islice(documents(data, call), settings.limit)))
    return {"loss": score.loss(), "perplexity": score.perplexity(), "bits_per_byte": score.bits_per_byte()}


def masked(engine: Engine, settings: Evaluate, data: DataSettings, call: Call) -> dict[str, Interval]:
    words = Words.of(engine.tokenizer, engine.checkpoint.family.start)
    corpus = prepare(data, engine.tokenizer, call.voice)
    length = data.length or min(engine.model.config.length or 512, 512)
    noise = settings.corruption
    if noise.kind == "auto":
        noise = noise.model_copy(update=choose({}, "auto", engine.checkpoint.family).corruption)
    rows = pack(corpus, length, noise, words)
    loader = Loader(rows, corruption(noise, words), settings.batch, settings.seed, shuffle=False)
    steps = loader.steps_per_epoch if settings.limit is None else min(loader.steps_per_epoch, settings.limit)
    score: TokenScore = score_batches(engine.model, (loader.batch(step) for step in range(steps)))
    return {"loss": score.loss(), "perplexity": score.perplexity(), "masked_accuracy": score.accuracy()}


def documents(data: DataSettings, call: Call) -> Iterator[str]:
    """Whole documents; where there are few, parts of about 16,000 characters."""
    rows = list(Reading(data, Ledger(), call.voice).rows(sources(data.paths, data)))
    few = sum(row.begins for row in rows) < FEW
    parts: list[str] = []
    size = 0
    for row in rows:
        if parts and (row.begins or (few and size >= PORTION)):
            yield "".join(parts)
            parts, size = [], 0
        parts.append(row.text)
        size += len(row.text)
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


def run_of(start: str) -> Path | None:
    return Path(start) if is_run(Path(start)) else None


def write_down(start: str, rows: list[Data], more: Data, call: Call) -> tuple[Path, ...]:
    """Into the run, where START is one."""
    run = run_of(start)
    if run is None or Run(run).state != "finished":
        return ()
    return add_results(run, rows, more), write_report(run, call.voice.language), write_card(run, call.voice.language)
