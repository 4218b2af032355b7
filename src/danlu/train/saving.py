"""When a checkpoint is written, and what happens when the disk does not take it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor

from danlu.errors import DanluError
from danlu.train.log import Journal
from danlu.train.resume import Checkpoints, Rows, State, bytes_needed
from danlu.voice import Voice

Groups = Mapping[str, Mapping[str, Tensor]]


class Saver:
    """Saves regularly. Where that fails, training goes on, and saving is tried again after 1, 2, 4, ... steps."""

    def __init__(
        self, checkpoints: Checkpoints, minutes: float, voice: Voice, journal: Journal,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.checkpoints, self.seconds = checkpoints, 60 * minutes
        self.voice, self.journal, self.clock = voice, journal, clock
        self.at(0)

    def at(self, step: int) -> None:
        """A checkpoint of this step stands on the disk."""
        self.saved, self.moment = step, self.clock()
        self.failing_since: int | None = None
        self.retry, self.delay = 0, 1

    def due(self, step: int, ended: bool = False) -> bool:
        if step == self.saved:
            return False
        if ended:
            return True
        if self.failing_since is not None:
            return step >= self.retry
        if step % self.checkpoints.every == 0:
            return True
        late = self.clock() - self.moment >= self.seconds
        return bool(self.checkpoints.world.numbers([late])[0][0])  # by the leader's clock

    def save(
        self, step: int, tensors: Groups, plain: Callable[[], State], last: bool = False, rows: Rows | None = None
    ) -> None:
        """Write a checkpoint, or put it off. E1703 where none could be written for two regular distances.

        last: there is no later; then it is tried twice, and failing is an error.
        """
        for attempt in range(2 if last else 1):
            try:
                self.checkpoints.save(step, tensors, plain(), rows)
            except OSError as error:
                self._put_off(step, error, bytes_needed(tensors), last and attempt == 1)
            else:
                self._succeeded(step)
                return

    def _succeeded(self, step: int) -> None:
        if self.failing_since is not None:
            self.voice.say(f"step {step}: saved again", f"第 {step} 步：已恢复保存")
            self.journal.note("saved again", step=step)
        self.at(step)
        self.prune()

    def prune(self) -> None:
        """Remove old checkpoints. What the disk does not let go of is tried again after the next save."""
        with self._minding_the_disk():
            self.checkpoints.prune()

    def go_back(self, step: int) -> None:
        """Training went back to the checkpoint of this step: those after it are of a course not taken."""
        with self._minding_the_disk():
            self.checkpoints.discard_after(step)
        self.at(step)

    @contextmanager
    def _minding_the_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.journal.note("could not remove a checkpoint", error=error)

    def _put_off(self, step: int, error: OSError, needed: int, last: bool) -> None:
        if self.failing_since is None:
            self.failing_since = step
        self.retry, self.delay = step + self.delay, min(2 * self.delay, self.checkpoints.every)
        size = f"{needed / 1e6:,.1f} MB"
        self.journal.note("could not save", step=step, error=error)
        if last or step - self.failing_since >= 2 * self.checkpoints.every:
            raise DanluError("E1703", where=self.checkpoints.folder, step=self.saved, needed=size) from error
        why = error.strerror or error
        self.voice.say(
            f"step {step}: could not save ({why}; {size} needed in {self.checkpoints.folder}). "
            f"The checkpoint of step {self.saved} stays, training goes on, saving is tried again at step {self.retry}",
            f"第 {step} 步：保存失败（{why}；{self.checkpoints.folder} 需要 {size}）。"
            f"第 {self.saved} 步的检查点保持不变，训练继续，第 {self.retry} 步重试",
        )
