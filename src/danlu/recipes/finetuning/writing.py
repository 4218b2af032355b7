"""Fine-tuning for tasks whose answer is a text, and for preferences: what is special about them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.data.ledger import Ledger
from danlu.errors import DanluError
from danlu.evaluate.judge import details, measured
from danlu.evaluate.predictions import Prediction
from danlu.evaluate.writing import likelihoods, prefers, weigh_answers, write_answers
from danlu.files import replace_json
from danlu.generate.engine import Engine
from danlu.generate.rows import limit
from danlu.models.build import ModelConfig
from danlu.models.language import LanguageModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.recipes.evaluating.judging import Judged, Judging, keep, say_results
from danlu.recipes.finetuning.defaults import RATE, TRAIN, WIDTH, made_width, started, with_truncation
from danlu.recipes.finetuning.material import Material
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.runs.call import Stopped
from danlu.recipes.runs.folder import Run
from danlu.recipes.runs.samples import Sampler, SampleSettings, watched
from danlu.recipes.starting.adapting import adapted, faster, rates
from danlu.recipes.starting.start import Start, find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data
from danlu.tasks import WRITING, Row
from danlu.tasks.loader import TaskLoader
from danlu.tasks.metrics import METRICS, find_metrics
from danlu.tasks.preferring import collate, encode
from danlu.tasks.task import Example
from danlu.tasks.writing import Paper, Writing, WritingSettings
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import Objective, TokenObjective, TokenSettings
from danlu.train.preference import PreferenceObjective
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer
from danlu.voice import Voice

# What a model that has learnt is given, and one that begins with nothing, where nothing was said.
LEARNT: Data = TRAIN | {"batch": 32}
FRESH: Data = {"optimizer": "muon", "schedule": "linear", "warmup": 0.05, "batch": 256}
TOKENS = 6144  # of a batch of both, padding included
SMOOTHING = 0.1  # of a fresh model's targets, Vaswani et al. 2017, 5.4
ROWS, EPOCHS = {True: 600_000, False: 40_000}, {True: (10, 40), False: (2, 10)}  # fresh or not
PREFERRING = 5e-6  # learning rate at a width of 768, Rafailov et al. 2023, appendix B
ROOM = 1024  # tokens, where a model has no length of its own
SHOWN = 2  # rows whose answers are shown after each evaluation
MEASURED = 100  # batches of an evaluation while training


def defaults(start: Start, made: Material, given: Data) -> Data:
    """Settings for everything that was not given."""
    task, train, fresh = made.task, given.get("train") or {}, start.where is None
    assert isinstance(task, Writing)
    found: Data = {
        "train": dict(FRESH if fresh else LEARNT), "embeddings": True, "data": {"tokens": TOKENS},
        "writing": {"beams": task.beams}, "loss": {"smoothing": SMOOTHING if fresh else 0.0},
    }  # fmt: skip
    if not fresh:
        width = made_width(start.config)
        rate = PREFERRING * 768 / width if task.name == "prefer" else RATE * min(2.0, WIDTH / width)
        found["train"]["lr"] = float(f"{rate * faster(given.get('adapt')):.2g}")
    if not any(train.get(name) for name in ("steps", "epochs", "minutes")):
        low, high = EPOCHS[fresh]
        found["train"]["epochs"] = float(min(high, max(low, round(ROWS[fresh] / max(1, len(made.training))))))
    return found


def check_writer(config: ModelConfig, name: str) -> None:
    """E1921 where a model fills gaps or has heads, and cannot write."""
    if config.kind not in ("language", "sequence_to_sequence") or not config.causal:
        raise DanluError("E1921", where=name, found=config.kind)


def carry_out(
    settings: Finetune, run: Run, start: Start, made: Material, story: Callable[[Progress, Checkpoint], Data],
    voice: Voice, watch: Callable[[Mapping[str, float]], None] | None = None,
) -> Run:  # fmt: skip
    """Do, or finish, a run. story: the lineage. Stopped (a KeyboardInterrupt) where it was asked to leave."""
    check_writer(start.config, start.name)
    texts = [Row({"source": text}) for text in _texts(made.training, settings)]
    checkpoint = started(settings, start, lambda config: config, run.path, texts, voice)
    checkpoint = adapted(checkpoint, settings.adapt, settings.seed, start.name, voice)
    assert isinstance(made.task, Writing)
    paper = paper_on(checkpoint, made.task, settings.writing, settings.data.length)
    training, ledger = _unmarked(paper, made.training, made.ledger)
    objective: Objective
    if prefers(paper):
        objective = PreferenceObjective(settings.prefer)
        examples, held = (_compared(checkpoint, paper, rows, settings, voice) for rows in (training, made.validation))
    else:
        objective = TokenObjective(TokenSettings(smoothing=settings.loss.smoothing))
        examples, held = paper.encode(training), paper.encode(made.validation)
    replace_json(run.path / "ledger.json", made.ledger_json(with_truncation(ledger, examples)))
    trainer = Trainer(
        checkpoint.model, objective, loader(paper, examples, settings, shuffle=True), settings.train, run.path,
        voice=voice, seed=settings.seed, device=find_device(settings.device), rates=rates(checkpoint),
        evaluate=_evaluation(checkpoint, paper, objective, held, made.validation, settings, run, watch,
                             lambda: trainer.progress.step),
    )  # fmt: skip
    progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(f"danlu finetune {run}")
    asked = {"prompt": settings.writing.prompt, "answer_length": settings.writing.length}
    replace(checkpoint, lineage=story(progress, checkpoint) | asked).save(run.model)
    how = Judging(precision=settings.train.precision, seed=settings.seed)
    for name, rows in (("validation", made.validation), ("test", made.test)):
        if rows:
            judged = judge(checkpoint, paper, rows, name, voice, how)
            keep(run.path, judged, own=True)
            if not voice.quiet and (name == "test" or not made.test):
                say_results(judged.results, voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def paper_on(checkpoint: Checkpoint, task: Writing, writing: WritingSettings, length: int | None) -> Paper:
    """The task as this model does it. E1903 without a tokenizer, E1920 where that has no end."""
    model = checkpoint.model
    assert isinstance(model, (LanguageModel, SequenceToSequence))
    if checkpoint.tokenizer is None:
        raise DanluError("E1903", where=checkpoint.where)
    if "end" not in checkpoint.tokenizer.special:
        raise DanluError("E1920", where=checkpoint.where)
    room = min(length or ROOM, limit(model) or ROOM)
    start = model.config.start if isinstance(model, SequenceToSequence) else None
    most = room // 2 if start is None else room
    writing = writing.model_copy(update={"length": min(writing.length, most)})
    return Paper(task, checkpoint.tokenizer, writing, room, start)


def loader(paper: Paper, examples: Sequence[Example], settings: Finetune, shuffle: bool) -> TaskLoader:
    """Batches of texts, or of pairs of them."""
    make = (lambda some: collate(paper, some)) if prefers(paper) else paper.collate
    return TaskLoader(
        examples, make, settings.train.batch, settings.seed, tokens=settings.data.tokens, shuffle=shuffle
    )  # fmt: skip


def paper_again(checkpoint: Checkpoint, told: Data, length: int | None, beams: int | None = None) -> Paper:
    """The paper that a finished model was trained on, by its lineage."""
    task = WRITING[told["task"]]
    writing = WritingSettings(
        prompt=told.get("prompt", "{source}"), length=told.get("answer_length", 256), beams=beams or task.beams
    )
    return paper_on(checkpoint, task, writing, length)


def judge(
    checkpoint: Checkpoint, paper: Paper, rows: Sequence[Row], data: str, voice: Voice, how: Judging,
    columns: Sequence[dict[str, str]] = (),
) -> Judged:  # fmt: skip
    """What the model writes, or prefers, and what that comes to. E1820 for a metric of another task."""
    more = find_metrics(how.metrics, paper.task.name)
    found: Iterator[Prediction]
    if prefers(paper):
        model = checkpoint.model
        found = weigh_answers(model, paper, rows, voice, precision=how.precision, columns=columns)
    else:
        found = write_answers(checkpoint, paper, rows, voice, precision=how.precision, columns=columns)
    predictions = list(found)
    metrics = tuple(dict.fromkeys((*(METRICS[name] for name in paper.task.metrics), *more)))
    results = [row | {"data": data, "unit": "rows"} for row in measured(metrics, predictions, how.seed)]
    parts = details(paper.task.name, predictions, metrics[0], how.slices, how.seed)
    return Judged(
        data, paper.task.name, predictions, results, parts | {"task": paper.task.name, "metric": metrics[0].name}
    )  # fmt: skip


def _texts(rows: Sequence[Row], settings: Finetune) -> list[str]:
    """What a fresh tokenizer learns from."""
    found = []
    for row in rows:
        for value in row.values.values():
            for each in value if isinstance(value, list) else [value]:
                found.append(each.content if hasattr(each, "content") else str(each))
    return found


def _unmarked(paper: Paper, rows: Sequence[Row], ledger: Ledger) -> tuple[list[Row], Ledger]:
    """Rows without special tokens in their texts; the others are in the ledger."""
    marked = [row for row in rows if paper.is_marked(row)]
    for row in marked:
        ledger.drop("special token", row.file, row.line)
    kept = [row for row in rows if not paper.is_marked(row)] if marked else list(rows)
    if not kept:
        raise DanluError("E1902", where=rows[0].file)
    return kept, replace(ledger, trained=ledger.trained - len(marked)) if marked else ledger


def _compared(
    checkpoint: Checkpoint, paper: Paper, rows: Sequence[Row], settings: Finetune, voice: Voice
) -> list[Example]:
    """Pairs of answers with what the model holds of them before it is trained."""
    if not rows:
        return []
    before = likelihoods(checkpoint.model, paper, rows, voice, precision=settings.train.precision)
    return [replace(example, places=pair) for example, pair in zip(encode(paper, rows), before, strict=True)]


def _evaluation(
    checkpoint: Checkpoint, paper: Paper, objective: Objective, examples: Sequence[Example], rows: Sequence[Row],
    settings: Finetune, run: Run, watch: Callable[[Mapping[str, float]], None] | None, step: Callable[[], int],
) -> Callable[[nn.Module], Mapping[str, float]] | None:  # fmt: skip
    """The loss on what is held out; and what the model answers to a few rows, to be read in the report."""
    if not examples:
        return None
    held = HeldOut(objective, loader(paper, examples, settings, shuffle=False), MEASURED)
    prompts = [] if prefers(paper) else [
        paper.template.render(messages[:-1], ask=True) if paper.start is None else messages[-2].content
        for messages in (paper.task.messages(row.values, paper.settings) for row in rows[:SHOWN])
    ]  # fmt: skip
    asking = SampleSettings(tokens=min(100, paper.settings.length), temperature=0.0)
    sampler = Sampler(Engine(checkpoint), prompts, asking, Path(run.path) / "samples.json")

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        values = held(model)
        if watch:
            watch(values)
        return values

    return watched(evaluate, sampler, step)
