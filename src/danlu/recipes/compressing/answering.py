"""Models with heads: rows of a task, and the task's own metric."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.data.batch import IGNORED, Batch
from danlu.evaluate.answers import predict
from danlu.evaluate.intervals import Comparison
from danlu.evaluate.judge import compared, measured
from danlu.models.classifier import Classifier
from danlu.recipes.compressing.subject import Part, Quality, Subject
from danlu.recipes.preparing.material import Material
from danlu.tasks.answering import Work
from danlu.tasks.framing import Framing
from danlu.tasks.metrics import METRICS
from danlu.tasks.task import Row
from danlu.train.answers import ANSWERS, AnswerSettings
from danlu.train.distill import Distil, DistilObjective
from danlu.train.evaluation import Stream
from danlu.voice import Voice


class Answering(Subject):
    def __init__(self, checkpoint: Checkpoint, work: Work, made: Material, sample: int, seed: int):
        super().__init__(checkpoint, sample, seed)
        self.work, self.made = work, made
        self.rows: Mapping[Part, list[Row]] = {
            "training": made.training, "validation": made.validation or made.training,
            "test": made.test or made.validation or made.training,
        }  # fmt: skip
        self.metric = METRICS[work.task.metrics[0]]

    def on(self, checkpoint: Checkpoint) -> "Answering":
        assert checkpoint.tokenizer is not None
        framing = Framing(checkpoint.tokenizer, self.work.framing.length, self.work.framing.segments)
        return Answering(checkpoint, replace(self.work, framing=framing), self.made, self.sample, self.seed)

    def stream(self, part: Part, rows: int, seed: int, shuffle: bool) -> Stream:
        return self.work.loader(self.work.encode(self._some(part, shuffle)), rows, seed, shuffle=shuffle)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of a row's label, of each tagged token; (B, C) of what is no choice."""
        given = batch.inputs
        assert isinstance(model, Classifier)
        logits = model.answers([self.work.head], **given)[self.work.head]
        targets = batch.targets[self.work.head]
        if self.work.task.form == "token":
            return logits.flatten(0, -2)[targets.flatten() != IGNORED]
        if self.work.task.form == "span":
            return logits.mT.flatten(0, 1)
        return logits.flatten(1)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Classifier)
        logits = model.answers([self.work.head], **batch.inputs)[self.work.head]
        return ANSWERS[self.work.task.loss](logits.float(), batch.targets[self.work.head], AnswerSettings())

    def quality(self, model: nn.Module, part: Part, voice: Voice) -> Quality:
        assert isinstance(model, Classifier)
        rows = self._some(part)
        found = list(predict(model, self.work, rows, voice.silenced(), precision="float32"))
        return Quality(measured([self.metric], found)[0] | {"data": part, "unit": "rows"}, found)

    def compare(self, first: Quality, second: Quality) -> Comparison:
        return compared([self.metric], first.rows, second.rows)[self.metric.name]

    def objective(self, teacher: nn.Module, settings: Distil) -> DistilObjective:
        return DistilObjective(teacher, settings, losses={self.work.head: self.work.task.loss})

    def texts(self, count: int) -> list[str]:
        rows = self.made.training[:count]
        return [str(value) for row in rows for name, value in row.values.items() if name.startswith("text")]

    def _some(self, part: Part, whole: bool = False) -> list[Row]:
        """Of a large part as many rows as are looked at, evenly spread; all of them to learn from."""
        rows = self.rows[part]
        if whole or part == "test" or len(rows) <= self.sample:
            return rows
        return [rows[at * len(rows) // self.sample] for at in range(self.sample)]
