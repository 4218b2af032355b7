"""From a START and what was said of its data to a subject: a run is measured on the rows it has learnt from."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from danlu.checkpoint import Checkpoint
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.division import Division, divide
from danlu.data.ledger import Ledger
from danlu.data.loader import Loader
from danlu.data.pictures.prepare import gather
from danlu.data.pictures.prepare import prepare as prepare_pictures
from danlu.data.pictures.settings import PictureSettings
from danlu.data.reading import Reading
from danlu.data.sources import DataSettings, resolved, sources
from danlu.errors import DanluError
from danlu.generate.exercise import learnt, texts_of
from danlu.generate.matching import Matcher
from danlu.models.classifier import Classifier
from danlu.models.dual import DualEncoder
from danlu.recipes.compressing.answering import Answering
from danlu.recipes.compressing.matching import Matching, Sides
from danlu.recipes.compressing.speaking import Speaking
from danlu.recipes.compressing.stage import Compress
from danlu.recipes.compressing.subject import Part, Subject
from danlu.recipes.preparing.material import look, material
from danlu.recipes.pretraining.objectives import choose
from danlu.recipes.runs.folder import Run, is_run
from danlu.recipes.starting.start import languages_of
from danlu.settings import Data, build, merge
from danlu.tasks.answering import Work
from danlu.tasks.paper import Paper
from danlu.tasks.settings import TaskData
from danlu.train.evaluation import Stream
from danlu.voice import Voice

LENGTH = 256  # tokens of a row of text, where a model has no length, at most


def data_of(settings: Compress) -> Data:
    """What was said of the data, over what a run was told itself. E1005 where neither says anything."""
    place = Path(settings.start)
    own = Run(place).config if is_run(place) else {}
    told: Any = own.get("data")
    found: Data = dict(told) if isinstance(told, dict) else {}
    if settings.data.get("paths"):
        kept = ("columns", "length", "format", "encoding") if own.get("verb") == "finetune" else ("length", "format")
        found = {name: found[name] for name in kept if name in found}
    found = merge(found, settings.data)
    if not found.get("paths") and not found.get("sources"):
        raise DanluError("E1005", word="DATA", possible=["START", "DATA"])
    return found


def find_subject(checkpoint: Checkpoint, settings: Compress, voice: Voice) -> Subject:
    """Errors of reading and of data; E1822 for a task that the model has not learnt."""
    place = Path(settings.start)
    own = Run(place).config if is_run(place) else {}
    data = data_of(settings)
    rows, seed = settings.measure.rows, settings.seed
    if isinstance(checkpoint.model, DualEncoder):
        return _matching(checkpoint, build(PictureSettings, data), own, rows, seed, voice)
    if isinstance(checkpoint.model, Classifier) or texts_of(checkpoint.lineage):
        return _tasked(checkpoint, build(TaskData, data), settings.task, rows, seed)
    return _speaking(checkpoint, build(DataSettings, data), own, rows, seed, voice)


def _tasked(checkpoint: Checkpoint, data: TaskData, task: str | None, rows: int, seed: int) -> Subject:
    exercise = learnt(checkpoint, task, data.length)
    made = material(look(data, exercise.task.name), data)
    if isinstance(exercise, Work):
        return Answering(checkpoint, exercise, made, rows, seed)
    parts = {"training": made.training, "validation": made.validation or made.training,
             "test": made.test or made.validation or made.training}  # fmt: skip

    def source(reader: Checkpoint, part: Part, size: int, at: int, shuffle: bool) -> Stream:
        paper: Paper = (
            exercise if reader is checkpoint else replace(exercise, tokenizer=reader.tokenizer or exercise.tokenizer)
        )
        from_rows: Stream = paper.loader(paper.encode(parts[part]), size, at, shuffle=shuffle)
        return from_rows

    return Speaking(checkpoint, source, rows, seed)


def _speaking(
    checkpoint: Checkpoint, data: DataSettings, own: Mapping[str, Any], rows: int, seed: int, voice: Voice
) -> Subject:
    """Text. What is held out is cut in two: rows to choose by, and rows to test on."""
    data, family = resolved(data), checkpoint.family
    noise = build(CorruptionSettings, own.get("corruption") or {})
    if noise.kind == "auto":
        noise = noise.model_copy(update=choose({}, "auto", family).corruption)
    length = min(data.length or LENGTH, checkpoint.config.length or LENGTH)
    divided: dict[str, Division] = {}

    def source(reader: Checkpoint, part: Part, size: int, at: int, shuffle: bool) -> Stream:
        assert reader.tokenizer is not None
        if reader.tokenizer.fingerprint not in divided:
            divided[reader.tokenizer.fingerprint] = divide(data, reader.tokenizer, voice)
        division = divided[reader.tokenizer.fingerprint]
        words = Words.of(reader.tokenizer, family.start, languages_of(reader.config))
        corpus = division.training if part == "training" else division.validation or division.training
        loader = Loader(pack(corpus, length, noise, words), corruption(noise, words), size, at, shuffle)
        return loader if part == "training" else Half(loader, part == "test")

    if checkpoint.tokenizer is None:
        raise DanluError("E1903", where=checkpoint.where)
    texts = [row.text for row in islice(Reading(data, Ledger(), voice.silenced()).rows(sources(data.paths, data)), 64)]
    return Speaking(checkpoint, source, rows, seed, texts)


class Half:
    """Every other batch of a loader, from the first or from the second on; all of it where there is one alone."""

    def __init__(self, loader: Loader, second: bool):
        self.loader = loader
        self.whole = loader.steps_per_epoch < 2
        self.second = int(second and not self.whole)

    @property
    def steps_per_epoch(self) -> int:
        return self.loader.steps_per_epoch if self.whole else (self.loader.steps_per_epoch + 1 - self.second) // 2

    def batch(self, step: int) -> Any:
        return self.loader.batch(step if self.whole else 2 * step + self.second)

    def stream(self, first: int = 0) -> Any:
        return (self.batch(step) for step in range(first, self.steps_per_epoch))


def _matching(
    checkpoint: Checkpoint, data: PictureSettings, own: Mapping[str, Any], rows: int, seed: int, voice: Voice
) -> Subject:
    assert checkpoint.processor
    encode = partial(Matcher(checkpoint).encode, length=data.length)
    prepared = prepare_pictures(gather(data, voice), data, checkpoint.processor, encode, voice)
    sides = Sides(prepared.training, prepared.validation or prepared.training)
    return Matching(checkpoint, sides, str(own.get("objective") or checkpoint.family.objective), rows, seed)
