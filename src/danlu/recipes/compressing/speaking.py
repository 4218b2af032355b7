"""Models of a vocabulary: text that is gone on with, mended or written; worth is perplexity."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from danlu.checkpoint import Checkpoint
from danlu.data.batch import IGNORED, Batch
from danlu.evaluate.intervals import Comparison, compare
from danlu.evaluate.score import TokenScore, score_batches
from danlu.models.build import TextModel
from danlu.recipes.compressing.subject import Part, Quality, Subject, spread
from danlu.recipes.compressing.writing_on import written_by
from danlu.train.distill import Distil, DistilObjective
from danlu.train.evaluation import Stream
from danlu.voice import Voice

CHUNK = 32  # rows that are scored at once
Source = Callable[[Checkpoint, Part, int, int, bool], Stream]


class Speaking(Subject):
    """source: batches of a part, of so many rows, by a seed, shuffled or not, as a checkpoint reads them."""

    def __init__(self, checkpoint: Checkpoint, source: Source, sample: int, seed: int, texts: list[str] | None = None):
        super().__init__(checkpoint, sample, seed)
        self.source, self.some_texts = source, texts or []

    def on(self, checkpoint: Checkpoint) -> "Speaking":
        return Speaking(checkpoint, self.source, self.sample, self.seed, self.some_texts)

    def stream(self, part: Part, rows: int, seed: int, shuffle: bool) -> Stream:
        return self.source(self.checkpoint, part, rows, seed, shuffle)

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        hidden: Tensor = model.hidden(**batch.inputs)  # type: ignore[operator]
        found: Tensor = model.head(hidden[batch.targets["tokens"] != IGNORED])  # type: ignore[operator]
        return found

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Through the model's own forward pass, so that the layer before the vocabulary is seen, too."""
        logits: Tensor = model(**batch.inputs)
        targets = batch.targets["tokens"]
        wanted = targets != IGNORED
        return cross_entropy(logits[wanted].float(), targets[wanted], reduction="sum")

    def quality(self, model: nn.Module, part: Part, voice: Voice) -> Quality:
        assert isinstance(model, TextModel)
        loader = self.stream(part, CHUNK, self.seed, shuffle=False)
        score: TokenScore = score_batches(model, (loader.batch(at) for at in spread(loader, self.sample, CHUNK)))
        result = score.perplexity().plain() | {"name": "perplexity", "data": part, "unit": "rows"}
        return Quality(result, score)

    def compare(self, first: Quality, second: Quality) -> Comparison:
        """Of the losses: nats a token."""
        return compare(first.rows.losses, second.rows.losses, first.rows.targets, larger_is_better=False)

    def objective(self, teacher: nn.Module, settings: Distil) -> DistilObjective:
        return DistilObjective(teacher, settings, write=written_by(self.checkpoint, settings.prompt))

    def texts(self, count: int) -> list[str]:
        return self.some_texts[:count]
