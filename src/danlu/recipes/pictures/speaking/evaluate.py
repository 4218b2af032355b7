"""`danlu evaluate RUN PICTURES` of a model that sees: what it answers or writes, and what it finds."""

from pathlib import Path

from pydantic import Field

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.prepare import gather
from danlu.data.pictures.settings import PictureSettings
from danlu.evaluate.pictures import retrieval
from danlu.models.multimodal import MultimodalModel
from danlu.recipes.evaluating.judging import keep, say_results
from danlu.recipes.pictures.check import holds_pictures
from danlu.recipes.pictures.speaking.judge import embedded, judged, pictured
from danlu.recipes.pictures.speaking.rows import Side, loader, material
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import Run, add_results, is_run
from danlu.recipes.starting.start import find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.voice import Voice


class EvaluateSeeing(Common):
    """batch: pictures at once. limit: at most so many pictures are compared with each other."""

    data: PictureSettings = PictureSettings()
    batch: int = Field(64, ge=1)
    limit: int = Field(2000, ge=2)


def about_pictures(call: Call) -> bool:
    """Whether the DATA of a call holds pictures; text is measured as of any language model."""
    return holds_pictures(call.words[1:] or (call.settings.get("data") or {}).get("paths") or ())


def evaluate(call: Call) -> Answer:
    """The verb. Results of a run are written into its evaluation.json, report and card."""
    settings = call.build(EvaluateSeeing)
    start, path = call.take("START", "DATA", optional=1)
    assert start
    paths = (path,) if path else settings.data.paths
    data = settings.data.model_copy(update={"paths": tuple(paths), "validation": (), "held_out": 0.0})
    if call.dry_run:
        return call.rehearse(settings.model_copy(update={"data": data}))
    checkpoint = Checkpoint.load(start, device=find_device(settings.device))
    if "frames" not in (call.settings.get("data") or {}):
        data = data.model_copy(update={"frames": checkpoint.lineage.get("frames", data.frames)})
    run = Path(start)
    kept = run if is_run(run) and Run(run).state == "finished" else None
    rows: list[Data] = []
    told = TeachSeeing(start="", data=data, seed=settings.seed)
    for side in material(gather(data, call.voice, asks=True), told, checkpoint, call.voice).training:
        rows += _measured(checkpoint, side, told, settings, call.voice, kept)
    say_results(rows, call.voice)
    if kept is None:
        return Answer(None, {row["name"]: row for row in rows})
    files = write_report(kept, call.voice.language), write_card(kept, call.voice.language)
    return Answer(kept, {row["name"]: row for row in rows}, files)


def _measured(
    checkpoint: Checkpoint, side: Side, told: TeachSeeing, settings: EvaluateSeeing, voice: Voice, kept: Path | None
) -> list[Data]:
    """Pictures, or films: answers and, where there are captions and a common space, retrieval; into the run."""
    name = ", ".join(Path(each).name for each in told.data.paths)
    name = name if side.frames == 1 else f"{name}, {side.frames} frames"
    found = judged(checkpoint, side, told, name, voice)
    model, found_again = checkpoint.model, list[Data]()
    assert isinstance(model, MultimodalModel)
    if model.common is not None and all(side.data.captions):
        batches = loader(checkpoint, side, told, settings.batch, 0, shuffle=False, paired=True)
        seen = embedded(model, batches, settings.limit)
        gallery = f"{name}, {len(seen.images):,} pairs"
        found_again = [{"name": measure, "data": gallery} | each.plain() for measure, each in retrieval(seen).items()]
    if kept:
        keep(kept, found)
        add_results(kept, found_again, pictured(checkpoint, side, found))
    return [*found.results, *found_again]
