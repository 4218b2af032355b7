"""A run in several processes on this machine, started by danlu itself.

Danlu is not one of them: it hosts the store at which they meet, waits, hands signals on, and says what went wrong.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import torch
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from danlu.errors import DanluError
from danlu.recipes.runs.call import Common
from danlu.recipes.runs.folder import Run
from danlu.recipes.runs.processes import GRACE, LAST_WORD, MISTAKE, PARENT, STOPPED
from danlu.train.distributed import retold
from danlu.voice import Voice


def wanted(settings: Common) -> int:
    """How many processes a run asks for: one a GPU where nothing was said, one where nothing is trained. E2105 where
    there are fewer devices."""
    train: Any = getattr(settings, "train", None)
    if train is None:
        return 1
    device = settings.device
    cards = torch.cuda.device_count() if torch.cuda.is_available() and device in ("auto", "cuda") else 0
    count = train.processes or max(1, cards)
    most = cards if cards else 1 if device.startswith("cuda") else count
    if count > most:
        raise DanluError("E2105", found=count, possible=most)
    return int(count)


def launch(verb: str, run: Run, count: int, voice: Voice) -> None:
    """Carry a run out in `count` processes on this machine. What one of them could not do is raised here."""
    voice.say(f"{count} processes", f"{count} 个进程")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    attempt = PrefixStore("danlu/attempt/0", store)
    attempt.set(PARENT, "1")
    common = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
    }
    command = [sys.executable, "-m", "danlu", verb, str(run), f"lang={voice.language}"]
    children: list[subprocess.Popen[bytes]] = []
    with ExitStack() as stack:
        errors: list[IO[bytes]] = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        stack.callback(_end, children)
        for rank, file in enumerate(errors):
            speaks = rank == 0 and not voice.quiet
            children.append(subprocess.Popen(
                command, env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=None if speaks else file,
                start_new_session=True,
            ))  # fmt: skip
        with _handing_on(children):
            _wait(children)
        _end(children)
        statuses = [child.returncode for child in children]
        if any(statuses):
            raise _why(attempt, statuses, errors)


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _wait(children: list[subprocess.Popen[bytes]]) -> None:
    """Until all have ended; once one has failed, the others have a moment to follow."""
    until = float("inf")
    while any(child.poll() is None for child in children) and time.monotonic() < until:
        if until == float("inf") and any(child.returncode for child in children):
            until = time.monotonic() + GRACE
        time.sleep(0.05)


def _why(store: Store, statuses: list[int], errors: list[IO[bytes]]) -> BaseException:
    """What the first process to fail had to say; where it was killed, that."""
    killed = [rank for rank, status in enumerate(statuses) if status < 0 and status != -signal.SIGKILL]
    word = json.loads(store.get(LAST_WORD)) if store.check([LAST_WORD]) else {}
    silent = next((rank for rank, status in enumerate(statuses) if status not in (0, MISTAKE, STOPPED)), None)
    if silent is not None and (not word or word.get("code") == "E2106"):
        status = statuses[killed[0] if killed else silent]
        errors[silent].seek(0)
        said = errors[silent].read()[-300:].decode(errors="replace").strip()
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return DanluError("E2106", rank=silent, found=f"{name} {said}".strip())
    if word.get("stopped") or STOPPED in statuses:
        return KeyboardInterrupt()
    if "unforeseen" in word:
        return RuntimeError(f"process {word['rank']}: {word['unforeseen']}")
    return retold({name: value for name, value in word.items() if name != "rank"})


@contextmanager
def _handing_on(children: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """While entered, a first SIGINT or SIGTERM asks the children to leave, a second SIGINT stops them at once."""
    asked: list[int] = []

    def hand_on(number: int, _: object) -> None:
        again = number == signal.SIGINT and bool(asked)
        asked.append(number)
        for child in children:
            if child.poll() is None:
                child.send_signal(signal.SIGINT if again else signal.SIGTERM)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
