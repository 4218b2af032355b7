"""How long a run is, how far it has come, how fast it goes."""

import time
from collections.abc import Callable

from danlu.data.batch import Batch
from danlu.train.evaluation import Batches
from danlu.train.progress import Progress
from danlu.train.settings import TrainSettings
from danlu.voice import Bar

NOTE_SECONDS = 0.5  # between two notes on the progress bar
# Inputs that are read one token at a time, and what says which of them are padding.
TOKENS = {"tokens": "valid", "source": "source_valid", "target": "target_valid"}


class Pace:
    """Measures a run in steps, or in seconds where its length is a time."""

    def __init__(self, settings: TrainSettings, loader: Batches, clock: Callable[[], float] = time.monotonic):
        self.total = total_steps(settings, loader)
        self.budget = None if settings.minutes is None else 60 * settings.minutes
        self.clock = clock
        self.ticked = self.noted = clock()
        self.noted_tokens = 0
        self.seconds, self.tokens = 0.0, 0  # of the steps since the last line

    def start(self, progress: Progress) -> None:
        """From here on, time counts."""
        self.ticked = self.noted = self.clock()
        self.noted_tokens = progress.tokens

    def is_over(self, progress: Progress) -> bool:
        return progress.step >= self.total if self.total is not None else progress.elapsed >= (self.budget or 0.0)

    def done(self, progress: Progress) -> float:
        """Share of the work finished, 0 to 1, at the middle of the coming step."""
        if self.total is not None:
            return min(1.0, (progress.step + 0.5) / self.total)
        return min(1.0, progress.elapsed / (self.budget or 1.0))

    def share(self, wanted: float, progress: Progress) -> float:
        """Warm-up or hold as a share of the work: below 1 it is one already, from 1 on it is a number of steps."""
        if wanted < 1:
            return wanted
        if self.total is not None:
            return min(1.0, wanted / self.total)
        return min(1.0, wanted * self.done(progress) / (progress.step + 0.5))

    def reached(self, wanted: float, progress: Progress) -> bool:
        """Whether so much of the work is done, counted as in `share`."""
        return self.done(progress) >= self.share(wanted, progress)

    def remaining(self, progress: Progress) -> float:
        """Steps, or seconds, to go."""
        return (
            self.total - progress.step if self.total is not None else max(0.0, (self.budget or 0.0) - progress.elapsed)
        )

    def advance(self, progress: Progress, started: float, tokens: int) -> float:
        """A step that began at `started` is finished. Returns the seconds passed since the last one was."""
        now = self.clock()
        passed, self.ticked = now - self.ticked, now
        progress.step += 1
        progress.tokens += tokens
        progress.elapsed += passed
        self.seconds += now - started
        self.tokens += tokens
        return passed

    def show(self, bar: Bar, progress: Progress, passed: float) -> None:
        """Move the bar on by a step, or by the time that passed."""
        note = ""
        since = self.ticked - self.noted
        if since >= NOTE_SECONDS or self.is_over(progress):
            of = f"/{self.total:,}" if self.total is not None else ""
            loss = "" if progress.loss is None else f"  loss {progress.loss:.3f}"
            note = (
                f"{progress.step:,}{of}{loss}  {(progress.tokens - self.noted_tokens) / max(1e-9, since):,.0f} tokens/s"
            )
            self.noted, self.noted_tokens = self.ticked, progress.tokens
        bar.advance(1 if self.total is not None else passed, note)

    def rate(self) -> float:
        """Tokens a second, of the steps since the last line."""
        return self.tokens / max(1e-9, self.seconds)

    def begin_line(self) -> None:
        self.seconds, self.tokens = 0.0, 0


def total_steps(settings: TrainSettings, loader: Batches) -> int | None:
    """How many steps a run takes; None where its length is a time."""
    if settings.minutes is not None:
        return None
    epochs = 1.0 if settings.epochs is None else settings.epochs
    return settings.steps or max(1, round(epochs * loader.steps_per_epoch / settings.accumulate))


def count_tokens(batch: Batch) -> int:
    """Tokens a model reads, padding not counted."""
    count = 0
    for name, valid in TOKENS.items():
        if name in batch.inputs:
            count += int(batch.inputs[valid].sum()) if valid in batch.inputs else batch.inputs[name].numel()
    return count
