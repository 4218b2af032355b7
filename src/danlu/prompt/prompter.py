"""A model and a prompt put to use: texts in, classes out. What `danlu.load` returns for a prompt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from danlu.errors import DanluError
from danlu.evaluate.answers import text_of
from danlu.evaluate.predictions import Prediction
from danlu.prompt.scorer import Learned, Scorer
from danlu.prompt.spec import PromptSpec
from danlu.tasks.splits import fingerprint
from danlu.tasks.task import Reply, Row
from danlu.voice import Voice

PORTION = 512  # rows between two signs of life


@dataclass(frozen=True)
class Prompter:
    """One row in, one reply out; a list in, a list out. learned: the vectors of soft segments."""

    scorer: Scorer
    spec: PromptSpec
    learned: Learned | None = None
    labels: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", self.spec.classes)

    def classify(self, texts: Any, seconds: Any = None) -> Any:
        """The likeliest class of a text (or a picture), or of a text and a second one; `scores` has them all."""
        alone = not isinstance(texts, (list, tuple))
        first, second = ([texts], [seconds]) if alone else (list(texts), seconds)
        name = "picture" if self.scorer.kind == "pictures" else "text"
        values: list[dict[str, Any]] = [{name: each} for each in first]
        if seconds is not None:
            values = [one | {"text_b": other} for one, other in zip(values, second, strict=True)]
        replies = self.answer([Row(each) for each in values])
        return replies[0] if alone else replies

    def answer(self, rows: Sequence[Row]) -> list[Reply]:
        """What the model says to rows. Errors of `Scorer.scores`."""
        found = []
        for chances in self.scorer.scores(self.spec, rows, self.learned).exp().tolist():
            scores = dict(zip(self.labels, chances, strict=True))
            best = max(scores, key=lambda name: scores[name])
            found.append(Reply(best, scores[best], scores))
        return found

    def predict(
        self, rows: Sequence[Row], voice: Voice, columns: Sequence[Mapping[str, str]] = ()
    ) -> Iterator[Prediction]:
        """An answer for each row, in order; a prompt that is calibrated by the rows it is asked sees all of them at
        once. E1823 where it knows none of the right answers."""
        told = {str(row.values["label"]) for row in rows}
        if not told & set(self.labels):
            raise DanluError("E1823", where=rows[0].file, found=sorted(told)[:20], possible=self.labels)
        portion = len(rows) if self.spec.calibration == "batch" else PORTION
        with voice.progress("asking", "提问", len(rows)) as bar:
            for start in range(0, len(rows), portion):
                some = rows[start : start + portion]
                logs = self.scorer.scores(self.spec, some, self.learned)
                best = logs.argmax(1).tolist()
                for number, (row, place) in enumerate(zip(some, best, strict=True)):
                    right = str(row.values["label"])
                    loss = -float(logs[number, self.labels.index(right)]) if right in self.labels else None
                    more = dict(columns[start + number]) if columns else {}
                    text = text_of(row)
                    yield Prediction(
                        start + number, row.file, row.line, f"{fingerprint(row):016x}", text, self.labels[place], right,
                        float(logs[number, place].exp()), loss, 1, len(text), 0, more,
                    )  # fmt: skip
                bar.advance(len(some))
