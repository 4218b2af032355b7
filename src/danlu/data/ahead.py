"""Batches made a little ahead of their use, in a thread."""

from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread

from danlu.data.batch import Batch


def made_ahead(make: Callable[[int], Batch], first: int, last: int | None = None, ahead: int = 2) -> Iterator[Batch]:
    """make(first), make(first + 1), … up to, not including, `last` (without end where there is none)."""
    ready: Queue[Batch | BaseException | None] = Queue(maxsize=ahead)
    stop = Event()

    def offer(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except Full:
                pass

    def work() -> None:
        step = first
        try:
            while not stop.is_set() and (last is None or step < last):
                offer(make(step))
                step += 1
            offer(None)
        except BaseException as error:  # handed to the reader, who raises it
            offer(error)

    thread = Thread(target=work, name="danlu-loader", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while thread.is_alive():
            try:
                ready.get_nowait()
            except Empty:
                thread.join(timeout=0.1)
