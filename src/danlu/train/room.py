"""How many rows are taken in one forward pass: as many as were asked for, fewer once memory has run out."""

from collections.abc import Callable, Mapping, Sequence

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.train.evaluation import Batches
from danlu.train.gradients import Gradients, Measured
from danlu.train.hardware import give_back_memory, is_out_of_memory
from danlu.train.parallel import Replicas
from danlu.train.progress import Progress
from danlu.voice import Voice


class Room:
    """Takes gradients; where memory runs out, once more in pieces half as large. The batch, and so the sums, stay."""

    def __init__(self, gradients: Gradients, rows: int | None, voice: Voice, note: Callable[[str, str], None]):
        """rows: in one forward pass, None: all. note: is told what happened."""
        self.gradients, self.rows, self.voice, self.note = gradients, rows, voice, note
        self.world, self.device = gradients.world, gradients.device

    def measure(
        self, batches: Sequence[Batch], counts: Mapping[str, int], position: int, progress: Progress
    ) -> Measured:
        """The gradients of all rows. E1702 where not even one row fits, E2107 where other processes wait for it."""
        while True:
            try:
                return self.gradients.take(batches, counts, position, progress.micro or self.rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if not self.world.alone:
                    raise DanluError("E2107", where=self.device, found=self.world.rank) from error
            # Outside of `except`, so that nothing holds on to the frames of the failed attempt.
            self._halve(max(batch.rows for batch in batches), progress)

    def rehearse(self, loader: Batches, step: int, progress: Progress) -> None:
        """With replicas: one piece, so that memory that runs out does so before any of them waits for the others."""
        layout = self.gradients.layout
        if not isinstance(layout, Replicas):
            return
        batch = loader.batch(step)
        while True:
            unused, full = False, False
            try:
                unused = self.gradients.rehearse(batch, step, progress.micro or self.rows)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                full = True
            if not self.world.any(full):
                break
            self._halve(int(max(row[0] for row in self.world.numbers([batch.rows]))), progress)
        layout.rehearsed(self.world.any(unused))

    def _halve(self, rows: int, progress: Progress) -> None:
        now = min(rows, progress.micro or self.rows or rows)
        if now == 1:
            raise DanluError("E1702", where=self.device)
        progress.micro = (now + 1) // 2
        self.gradients.forget()
        give_back_memory(self.device)
        self.note("out of memory", f"{now} -> {progress.micro} rows in one forward pass")
        self.voice.say(
            f"out of memory: the step is done again with {progress.micro} rows at a time instead of {now}; "
            "the batch stays the same",
            f"内存不足：改为每次 {progress.micro} 行（原为 {now} 行）重做这一步；批大小不变",
        )
