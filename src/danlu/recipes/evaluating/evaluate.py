"""`danlu evaluate START DATA`: a language model on a text or on minimal pairs, a classifier on labelled rows; alone, or
against another."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from danlu.checkpoint import Checkpoint
from danlu.data.corruption import CorruptionSettings
from danlu.data.sources import DataSettings, files_of, resolved
from danlu.errors import DanluError
from danlu.evaluate.answers import BATCH
from danlu.evaluate.intervals import Comparison
from danlu.evaluate.judge import compared as compared_answers
from danlu.evaluate.predictions import FILE, Prediction, read_predictions
from danlu.generate.exercise import learnt, texts_of
from danlu.recipes.evaluating.harness import evaluate_harness
from danlu.recipes.evaluating.judging import (
    Judged,
    Judging,
    judge,
    keep,
    own_settings,
    plain_comparison,
    rows_of,
    say_results,
)
from danlu.recipes.evaluating.retrieving import Retrieval, RetrievalSettings, retrieve
from danlu.recipes.evaluating.scoring import Scored, compared, score
from danlu.recipes.pictures.evaluate import evaluate as evaluate_pictures
from danlu.recipes.pictures.speaking.evaluate import about_pictures
from danlu.recipes.pictures.speaking.evaluate import evaluate as evaluate_seeing
from danlu.recipes.prompting.evaluate import evaluate as evaluate_prompt
from danlu.recipes.prompting.opening import holds_prompt
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import Run, add_comparisons, add_results, is_run
from danlu.recipes.starting.start import find_device, load_engine
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.tasks.metrics import MEASURES, find_metrics
from danlu.tasks.settings import TaskData
from danlu.train.settings import Precision
from danlu.voice import Voice


def _split(value: Any) -> Any:
    """`metrics=mcc,micro_f1` means both."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
VERDICTS = {
    "better": ("better", "更好"),
    "worse": ("worse", "更差"),
    "no difference shown": ("no difference shown", "未见差异"),
}


class Evaluate(Common):
    """A language model. limit: at most so many documents, or pairs of each paradigm. against: another model, on the
    same text. The corruption is that of masked models."""

    data: DataSettings = DataSettings()
    corruption: CorruptionSettings = CorruptionSettings()
    batch: int = Field(16, ge=1)
    limit: int | None = Field(None, ge=1)
    retrieval: Retrieval = None
    against: str | None = None


class EvaluateAnswers(Common):
    """A fine-tuned model. task: which of several it has learnt. limit: at most so many rows. metrics: beside the task's
    own. slices: columns of the file to make tables by. against: another model, on the same rows."""

    task: str | None = None
    data: TaskData = TaskData()
    metrics: Names = ()
    slices: Names = ()
    batch: int = Field(BATCH, ge=1)
    precision: Precision = "auto"
    limit: int | None = Field(None, ge=1)
    against: str | None = None


def evaluate(call: Call) -> Answer:
    """The verb. Results of a run are written into its evaluation.json, report and card."""
    if "harness" in call.settings:
        return evaluate_harness(call)
    start, path = call.take("START", "DATA", optional=1)
    assert start
    if "prompt" in call.settings or holds_prompt(start):
        return evaluate_prompt(call)
    kind: str = Checkpoint.peek(start)[1].kind
    if kind == "dual":
        return evaluate_pictures(call)
    if kind == "multimodal" and about_pictures(call):
        return evaluate_seeing(call)
    if kind == "classifier" or writes(start):
        return _answers(start, path, call)
    settings = call.build(Evaluate)
    paths = (path,) if path else settings.data.paths
    if not (paths or settings.data.parallel):
        raise DanluError("E1005", word="DATA", possible=["START", "DATA"])
    data = resolved(settings.data.model_copy(update={"paths": tuple(paths)}))
    files_of(data)
    retrieval = settings.retrieval or (RetrievalSettings() if data.parallel else None)
    if call.dry_run:
        return call.rehearse(settings.model_copy(update={"data": data}))

    def scored(word: str) -> Scored:
        engine = load_engine(word, settings.device)
        if retrieval:
            return retrieve(engine, data, retrieval, settings.limit, call.voice)
        return score(engine, data, settings.corruption, settings.batch, settings.limit, settings.seed, call.voice)

    name = ", ".join(Path(path).name for path in paths or data.parallel.values())
    found = scored(start)
    rows = [{"name": each, "data": name, "unit": found.unit, **interval.plain()}
            for each, interval in found.measured.items()]  # fmt: skip
    say_results(rows, call.voice)
    comparisons = {}
    if settings.against:
        comparisons = compared(scored(settings.against), found)
    return _written(start, name, rows, found.more, comparisons, settings.against, call.voice)


def _answers(start: str, path: str | None, call: Call) -> Answer:
    """A classifier: on a file, or, where there is none, its own predictions held against another run's."""
    settings = call.build(EvaluateAnswers)
    paths = (path,) if path else settings.data.paths
    if not paths and settings.against:
        return _finished(start, settings.against, settings.metrics, settings.seed, call.voice)
    if not paths:
        raise DanluError("E1005", word="DATA", possible=["START", "DATA"])
    if call.dry_run:
        return call.rehearse(settings)
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"paths": tuple(paths)})})
    name = ", ".join(Path(path).name for path in paths)
    judged = _judged(start, settings, name, call.voice)
    say_results(judged.results, call.voice)
    comparisons: Mapping[str, Comparison] = {}
    if settings.against:
        other = _judged(settings.against, settings, name, call.voice, judged.task)
        metrics = find_metrics([row["name"] for row in judged.results], judged.task)
        comparisons = compared_answers(metrics, other.predictions, judged.predictions, settings.seed)
    if is_finished(start):
        keep(Path(start), judged)
    return _written(start, name, judged.results, {}, comparisons, settings.against, call.voice)


def _judged(start: str, settings: EvaluateAnswers, name: str, voice: Voice, task: str | None = None) -> Judged:
    place = Path(start)
    own = own_settings(place) if is_run(place) else {"data": {}, "train": {}}
    checkpoint = Checkpoint.load(start, device=find_device(settings.device))
    exercise = learnt(checkpoint, task or settings.task, settings.data.length or own["data"].get("length"))
    trained = own["data"].get("columns")
    rows, columns, ledger = rows_of(exercise.task, settings.data, settings.slices, settings.limit, trained)
    if ledger.dropped:
        listed = ", ".join(f"{reason} {count}" for reason, count in ledger.dropped.most_common())
        voice.say(f"rows that cannot be used: {listed}", f"无法使用的行：{listed}")
    precision = settings.precision if settings.precision != "auto" else own["train"].get("precision", "auto")
    how = Judging(settings.metrics, settings.slices, settings.batch, precision, settings.seed)
    return judge(checkpoint, exercise, rows, name, voice, how, columns)


def writes(start: str) -> bool:
    """Whether a model was fine-tuned for a task whose answer is a text."""
    return bool(texts_of(Checkpoint.lineage_of(start)))


def _finished(start: str, against: str, metrics: Sequence[str], seed: int, voice: Voice) -> Answer:
    """Two finished runs by the predictions they left on the same split. E1822, E1824."""
    ours, theirs = _kept(start), _kept(against)
    tasks = [str(Run(Path(word)).config.get("task")) for word in (start, against)]
    if tasks[0] != tasks[1]:
        raise DanluError("E1822", where=against, found=tasks[1], task=tasks[0])
    rows = [row for row in Run(Path(start)).results if row.get("data") in ("test", "validation")]
    names = list(dict.fromkeys([*(row["name"] for row in rows), *metrics]))
    found = compared_answers(find_metrics(names, tasks[0]), theirs, ours, seed)
    return _written(start, "test", [], {}, found, against, voice)


def _kept(word: str) -> list[Prediction]:
    return read_predictions(Path(word) / FILE)


def say_comparison(found: Mapping[str, Comparison], against: str, voice: Voice) -> None:
    voice.fact(voice.pick("against", "对比"), against)
    for name, each in found.items():
        measure, gap = MEASURES[name], each.difference
        between = f"  [{_signed(name, gap.low)}, {_signed(name, gap.high)}]" if gap.known else ""
        words = f"{_signed(name, gap.value)}{between}  {voice.pick(*VERDICTS[each.verdict])}"
        voice.fact(f"  {voice.pick(measure.en, measure.zh)}", words)


def _signed(name: str, value: float) -> str:
    return ("+" if value > 0 else "") + MEASURES[name].write(value)


def _written(
    start: str,
    data: str,
    rows: list[Data],
    more: Data,
    found: Mapping[str, Comparison],
    against: str | None,
    voice: Voice,
) -> Answer:
    """Say what is left to say, and write it into the run where START is one."""
    metrics: dict[str, Any] = {row["name"]: row for row in rows}
    if against:
        say_comparison(found, against, voice)
        metrics["against"] = {name: plain_comparison(each) for name, each in found.items()}
    if not is_finished(start):
        return Answer(Path(start) if is_run(Path(start)) else None, metrics)
    run = Path(start)
    add_results(run, rows, more)
    if against:
        add_comparisons(run, [{"name": name, "data": data, "against": against} | plain_comparison(each)
                              for name, each in found.items()])  # fmt: skip
    language = voice.language
    return Answer(run, metrics, (run / "evaluation.json", write_report(run, language), write_card(run, language)))


def is_finished(word: str) -> bool:
    return is_run(Path(word)) and Run(Path(word)).state == "finished"
