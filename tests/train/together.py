"""Several real processes that train together, for tests: forked, joined by gloo, gone after minutes at most."""

import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import distributed

from danlu.errors import DanluError
from danlu.train.distributed import World

LONGEST = timedelta(minutes=5)


def together(size: int, work: Callable[..., Any], *words: Any) -> list[Any]:
    """What `work(world, *words)` gives in each of `size` processes; an error is a result."""
    context = multiprocessing.get_context("fork")
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, timeout=LONGEST, wait_for_workers=False)
    pipes, processes = [], []
    for rank in range(size):
        ours, theirs = context.Pipe()
        process = context.Process(target=_one, args=(theirs, store.port, rank, size, work, words), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        return [
            pickle.loads(pipe.recv_bytes()) if pipe.poll(LONGEST.total_seconds()) else "no answer" for pipe in pipes
        ]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _one(pipe: Connection, port: int, rank: int, size: int, work: Callable[..., Any], words: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    store = distributed.TCPStore("127.0.0.1", port, is_master=False, timeout=LONGEST)
    if size > 1:
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=LONGEST)
    try:
        found = work(World(rank, size), *words)
    except DanluError as error:
        found = error
    except BaseException:
        found = traceback.format_exc()
    pipe.send_bytes(pickle.dumps(found))  # the plain way: torch's own would share memory that is soon gone
    pipe.close()
