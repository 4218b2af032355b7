"""A process among several: how it finds the others, and how all end when one fails.

torchrun tells each process its place by the usual variables; this is the one behaviour that lies in environment
variables. Danlu starts processes of its own in the same way, see `launching`.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from danlu import __version__
from danlu.errors import DanluError
from danlu.recipes.runs.call import Call
from danlu.train.distributed import World, told

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
MEETING = timedelta(minutes=10)  # until the last process has come
WORKING = timedelta(days=7)  # until a process that says nothing is given up; one that dies is noticed at once
LAST_WORD, PARENT = "danlu/last-word", "danlu/parent"  # keys of the store
GRACE = 10.0  # seconds to leave in good order, once another process has failed
MISTAKE, STOPPED = 2, 130
LOST = ("closed by peer", "reset by peer", "broken pipe", "timed out", "connection refused")


@contextmanager
def joined(call: Call, meeting: timedelta = MEETING) -> Iterator[World]:
    """The world this process was started for; a world of its own without torchrun's variables.

    The first process to fail says why; the others leave without a word. E2101, E2102, E2103.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    if int(given.get("WORLD_SIZE", 1)) == 1:
        yield World()
        return
    if missing := [name for name in VARIABLES if name not in given]:
        raise DanluError("E2101", found=missing, possible=VARIABLES)
    place, store = f"{given['MASTER_ADDR']}:{given['MASTER_PORT']}", _met(given, meeting)
    world = World(int(given["RANK"]), int(given["WORLD_SIZE"]))
    speaker = Speaker(store, world)
    cuda = torch.cuda.is_available() and call.settings.get("device") != "cpu"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", store=PrefixStore("danlu/group", store),
            rank=world.rank, world_size=world.size, timeout=WORKING,
        )  # fmt: skip
        with speaker.watching():
            versions = {"danlu": __version__, "torch": torch.__version__}
            world.agree(place, versions | {"words": list(call.words)} | call.settings)
            yield world
            world.numbers([0])  # leave together
    except KeyboardInterrupt:
        speaker.leave(STOPPED, {"stopped": True}, speaks=world.leads)
        raise
    except DanluError as error:
        speaker.leave(MISTAKE, told(error))
        raise
    except Exception as error:
        lost = any(words in str(error).lower() for words in LOST)
        if lost and not speaker.somebody_spoke():
            gone = DanluError("E2106", where=place, rank="?", found=str(error).partition("\n")[0])
            speaker.leave(MISTAKE, told(gone))
            raise gone from error
        speaker.leave(MISTAKE, {"unforeseen": traceback.format_exc()})
        raise
    finally:
        if distributed.is_initialized() and sys.exc_info()[0] is None:
            distributed.destroy_process_group()


def refuse_several(verb: str, call: Call) -> None:
    """E2113 where several processes are asked of a verb that works in one."""
    train = call.settings.get("train")
    asked = train.get("processes") if isinstance(train, dict) else None
    count = max(int(os.environ.get("WORLD_SIZE", 1)), asked if isinstance(asked, int) else 1)
    if count > 1:
        raise DanluError("E2113", verb=verb, found=count, possible=1)


def _met(given: dict[str, str], patience: timedelta) -> Store:
    """The store at which all processes meet; the first one hosts it where nobody else does."""
    hosts = given["RANK"] == "0" and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    host, port = given["MASTER_ADDR"], given["MASTER_PORT"]
    try:
        store = TCPStore(
            host, int(port), int(given["WORLD_SIZE"]), is_master=hosts, timeout=patience, wait_for_workers=False
        )
        attempt = f"danlu/attempt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        store.add(f"{attempt}/come", 1)
        meeting = time.monotonic() + patience.total_seconds()
        while (come := store.add(f"{attempt}/come", 0)) < int(given["WORLD_SIZE"]):
            if time.monotonic() > meeting:
                raise DanluError("E2102", where=f"{host}:{port}", found=f"{come}/{given['WORLD_SIZE']}")
            time.sleep(0.05)
    except (RuntimeError, ValueError) as error:
        raise DanluError("E2102", where=f"{host}:{port}", found=str(error).partition("\n")[0]) from error
    return PrefixStore(attempt, store)


class Speaker:
    """Sees to it that of several processes that fail one says why, and that the others follow soon."""

    def __init__(self, store: Store, world: World):
        self.store, self.world = store, world
        self.spawned = store.check([PARENT])

    def somebody_spoke(self) -> bool:
        """Whether another process has failed and said so, or will have in a moment."""
        for _ in range(20):
            if self.store.check([LAST_WORD]):
                return True
            time.sleep(0.1)
        return False

    def leave(self, status: int, word: dict[str, Any], speaks: bool = True) -> None:
        """Go on (and raise) in the one process that speaks, end here in the others."""
        mine = json.dumps(word | {"rank": self.world.rank}, default=str)
        try:
            first = self.store.compare_set(LAST_WORD, "", mine).decode() == mine
        except RuntimeError:  # the store is gone, with whoever hosted it
            first = False
        if self.spawned or not speaks or (not first and status != STOPPED):
            sys.stderr.flush()
            os._exit(status)  # nothing is left to do, and what torch would tidy up waits for the others

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While entered, another process's failure ends this one, even where it waits in a kernel for that process."""
        done = threading.Event()

        def failed() -> bool:
            try:
                return bool(self.store.check([LAST_WORD]))
            except RuntimeError:
                return True

        def watch() -> None:
            while not done.wait(1.0):
                if failed():
                    if not done.wait(GRACE):
                        os._exit(MISTAKE)
                    return

        watcher = threading.Thread(target=watch, name="danlu-watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join(GRACE)  # a thread that asks the store while the interpreter ends may hold its lock for ever
