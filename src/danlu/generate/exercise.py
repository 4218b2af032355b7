"""A task as one model does it: which head answers, or on what paper it writes, and how texts become its rows."""

from collections.abc import Mapping
from typing import Any

from danlu.adapt import room
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.rows import limit
from danlu.models.classifier import AnswerConfig, ClassifierConfig
from danlu.models.language import LanguageModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.tasks import TASKS, WRITING, Task, Writing
from danlu.tasks.answering import Work
from danlu.tasks.framing import Framing
from danlu.tasks.paper import Paper
from danlu.tasks.preferring import PREFER, Preferences
from danlu.tasks.writing import WritingSettings
from danlu.text.tokenizer import Tokenizer

Exercise = Work | Paper
LONGEST, ROOM = 512, 1024  # tokens of a row to be understood, and to be written, where a model has no length of its own
# What a head of each kind answers, where no name says so.
KINDS = {
    ("row", "single"): "classify", ("row", "several"): "multilabel", ("row", "number"): "regress",
    ("token", "single"): "tag", ("span", "single"): "span", ("choice", "single"): "choose",
    ("vector", "single"): "retrieve",
}  # fmt: skip


def understood(checkpoint: Checkpoint, task: Task, head: str, length: int | None = None) -> Work:
    """A task as the head of this name does it. length: tokens of a row at most. E1903 without a tokenizer."""
    config = checkpoint.config
    assert isinstance(config, ClassifierConfig)
    longest = min(length or LONGEST, room(checkpoint.model) or LONGEST)
    framing = Framing(_tokenizer(checkpoint), longest, config.base.embedding.segments > 1)
    return Work(task, head, config.heads[head].labels, framing)


def written(checkpoint: Checkpoint, task: Writing, settings: WritingSettings, length: int | None = None) -> Paper:
    """A task whose answer is a text. E1903 without a tokenizer, E1920 where that has no end."""
    model, tokenizer = checkpoint.model, _tokenizer(checkpoint)
    assert isinstance(model, (LanguageModel, SequenceToSequence))
    if "end" not in tokenizer.special:
        raise DanluError("E1920", where=checkpoint.where)
    longest = min(length or ROOM, limit(model) or ROOM)
    start = model.config.start if isinstance(model, SequenceToSequence) else None
    most = longest // 2 if start is None else longest
    settings = settings.model_copy(update={"length": min(settings.length, most)})
    return (Preferences if task is PREFER else Paper)(task, tokenizer, settings, longest, start)


def learnt(
    checkpoint: Checkpoint, asked: str | None = None, length: int | None = None, beams: int | None = None
) -> Exercise:
    """What a finished model was made for. asked: a task, or the name it was given among several; the first where not
    given. E1822 where the model does no such thing."""
    told = texts_of(checkpoint.lineage)
    config = checkpoint.config
    heads = config.heads if isinstance(config, ClassifierConfig) else {}
    does = {name: _task_of(name, head) for name, head in heads.items()} or {
        name: each[0] for name, each in told.items()
    }
    name = next((name for name, task in does.items() if asked in (None, name, task)), None)
    if name is None:
        raise DanluError("E1822", where=checkpoint.where, found=", ".join(does.values()), task=asked)
    if heads:
        return understood(checkpoint, TASKS[does[name]], name, length)
    task, settings = WRITING[does[name]], told[name][1]
    return written(checkpoint, task, settings.model_copy(update={"beams": beams or task.beams}), length)


def texts_of(lineage: Mapping[str, Any]) -> dict[str, tuple[str, WritingSettings]]:
    """The tasks that a model writes for, by name, and how they put things; none where its lineage tells of none."""
    several = lineage.get("writing") or {lineage.get("task"): lineage}
    return {
        name: (
            told["task"],
            WritingSettings(prompt=told.get("prompt", "{source}"), length=told.get("answer_length", 256)),
        )
        for name, told in several.items()
        if told.get("task") in WRITING
    }


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    if checkpoint.tokenizer is None:
        raise DanluError("E1903", where=checkpoint.where)
    return checkpoint.tokenizer


def _task_of(name: str, head: AnswerConfig) -> str:
    kind = (head.form, head.problem)
    return name if name in TASKS and (TASKS[name].form, TASKS[name].problem) == kind else KINDS[kind]
