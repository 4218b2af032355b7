"""`danlu evaluate RUN PICTURES`: retrieval both ways; where captions are names of classes, naming by prompts."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from danlu.checkpoint import Checkpoint
from danlu.data.batch import Batch
from danlu.data.pictures.prepare import Prepared, gather, prepare
from danlu.data.pictures.settings import PictureSettings
from danlu.errors import DanluError
from danlu.evaluate.intervals import Interval
from danlu.evaluate.pictures import Embedded, embed, linear_probe, retrieval
from danlu.generate.matching import Matcher
from danlu.recipes.evaluating.judging import say_results
from danlu.recipes.pictures.naming import named
from danlu.recipes.pictures.pretrain import loader, towers
from danlu.recipes.pictures.shown import shown
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import Run, add_results, is_run
from danlu.recipes.starting.start import find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split("|") if part.strip()] if isinstance(value, str) else value


class EvaluatePictures(Common):
    """limit: at most so many pictures. templates: prompts a class name is put into, `a photo of a {name}|a {name}`;
    their vectors are averaged. probe: pictures to fit a linear probe on, judged on DATA."""

    data: PictureSettings = PictureSettings()
    batch: int = Field(64, ge=1)
    limit: int | None = Field(None, ge=1)
    templates: Annotated[tuple[str, ...], BeforeValidator(_split)] = ("{name}",)
    probe: str | None = None


def evaluate(call: Call) -> Answer:
    """The verb. Results of a run are written into its evaluation.json, report and card."""
    settings = call.build(EvaluatePictures)
    start, path = call.take("START", "DATA", optional=1)
    assert start
    paths = (path,) if path else settings.data.paths
    if not paths:
        raise DanluError("E1005", word="DATA", possible=["START", "DATA"])
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"paths": tuple(paths)})})
    if call.dry_run:
        return call.rehearse(settings)
    checkpoint = Checkpoint.load(start, device=find_device(settings.device))
    prepared, found = embedded(checkpoint, settings, tuple(paths), call)
    side = prepared.training
    measured: dict[str, Interval] = dict(retrieval(found))
    more: Data = {"pictures": shown(found, side)}
    naming = named(checkpoint, found, side, settings.templates)
    if naming:
        names, labels = list(naming.names), naming.labels.tolist()
        measured["zero_shot"] = naming.accuracy
        more["pictures"] |= {"confusions": naming.confusions()}
        if settings.probe:
            known, theirs = embedded(checkpoint, settings, (settings.probe,), call)
            classes = [known.training.caption(at) for at in range(len(theirs.images))]
            measured["probe"] = linear_probe(
                theirs.images, [names.index(each) if each in names else -1 for each in classes], found.images, labels
            )  # fmt: skip
    data = f"{', '.join(Path(each).name for each in paths)}, {len(found.images):,} pairs"
    rows = [{"name": name, "data": data, **interval.plain()} for name, interval in measured.items()]
    say_results(rows, call.voice)
    return Answer(
        Path(start) if is_run(Path(start)) else None,
        {row["name"]: row for row in rows},
        _written(start, rows, more, call),
    )


def embedded(
    checkpoint: Checkpoint, settings: EvaluatePictures, paths: tuple[str, ...], call: Call
) -> tuple[Prepared, Embedded]:
    """The pictures of some paths, all on one side, and their vectors."""
    assert checkpoint.processor
    data = settings.data.model_copy(update={"paths": paths, "validation": (), "held_out": 0.0})
    encode = partial(Matcher(checkpoint).encode, length=data.length)
    prepared = prepare(gather(data, call.voice), data, checkpoint.processor, encode, call.voice)
    batches = loader(checkpoint, prepared.training, settings.batch, settings.seed)
    steps = batches.steps_per_epoch
    if settings.limit:
        steps = min(steps, -(-settings.limit // settings.batch))
    with call.voice.progress("embedding", "计算向量", steps) as bar:

        def each() -> Iterator[Batch]:
            for step in range(steps):
                yield batches.batch(step)
                bar.advance(1)

        return prepared, embed(towers(checkpoint), each())


def _written(start: str, rows: list[Data], more: Data, call: Call) -> tuple[Path, ...]:
    """Into the run, where START is a finished one."""
    run = Path(start)
    if not is_run(run) or Run(run).state != "finished":
        return ()
    return add_results(run, rows, more), write_report(run, call.voice.language), write_card(run, call.voice.language)
