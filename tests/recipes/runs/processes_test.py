"""One run in several real processes, started by danlu or by torchrun; what goes wrong in them is said once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

import danlu
from danlu.errors import DanluError
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.call import Call, Common
from danlu.recipes.runs.folder import Run
from danlu.recipes.runs.launching import wanted
from danlu.recipes.runs.processes import joined
from danlu.train.resume import Checkpoints
from danlu.voice import Voice

SHAPE = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}
TRAIN = {"batch": 4, "save_every": 3, "evaluate_every": 3, "precision": "float32"}
REST = {"data": {"length": 32}, "samples": {"count": 1, "tokens": 4}, "quiet": True} | SHAPE


def begin(text: Path, output: str, steps: int = 6, **train: object) -> Run:
    return danlu.pretrain("gpt-tiny", text, output=output, train=TRAIN | {"steps": steps} | train, **REST)


def test_danlu_starts_processes_that_share_a_model_out(text: Path) -> None:
    several = begin(text, "runs/several", processes=2, sharded=True)
    one = begin(text, "runs/one")
    losses, theirs = ([line["loss"] for line in run.history.steps] for run in (several, one))
    assert losses == pytest.approx(theirs, rel=1e-5)
    assert several.metrics["perplexity"]["value"] if isinstance(several.metrics["perplexity"], dict) else True
    assert several.metrics["validation_loss"] == pytest.approx(one.metrics["validation_loss"], rel=1e-5)
    assert list(several.path.glob("checkpoints/*/optimizer-00002-of-00002.safetensors"))
    assert danlu.load(several).generate("The cat", max_new_tokens=3)


def test_a_killed_process_ends_the_others_and_the_run_goes_on_alone(text: Path) -> None:
    def kill() -> None:
        """SIGKILL to the second process, once there is a checkpoint."""
        while not list(Path("runs/x/checkpoints").glob("step-????????/manifest.json")):
            time.sleep(0.05)
        mine = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False)
        for pid in mine.stdout.split():
            place = Path(f"/proc/{pid}/environ")
            if place.exists() and b"RANK=1\0" in place.read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    start = time.monotonic()
    with pytest.raises(DanluError) as caught:
        begin(text, "runs/x", steps=100_000, processes=2)
    assert (caught.value.code, caught.value.facts["rank"]) == ("E2106", 1)
    assert "SIGKILL" in caught.value.found
    assert time.monotonic() - start < 60
    killer.join()
    saved = Checkpoints(Path("runs/x/checkpoints"), keep=2, every=1, back=1).newest()[0]
    assert saved
    with pytest.raises(DanluError, match="E1621"):  # another rate is another run, another number of processes is not
        danlu.call("pretrain", "runs/x", quiet=True, train={"lr": 1e-5})
    steps = Run(Path("runs/x")).metrics["step"] + 2
    done = danlu.call("pretrain", "runs/x", quiet=True, train={"steps": steps, "processes": 1})
    assert done.metrics["step"] == steps


def start(rank: int, port: int, words: list[str], size: int = 2) -> subprocess.Popen[str]:
    given = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-m", "danlu", "pretrain", *words], env=os.environ | {k: str(v) for k, v in given.items()},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_by_torchruns_variables_and_one_error_for_all(text: Path) -> None:
    words = ["gpt-tiny", str(text), "train.steps=3", "train.batch=3", "data.length=32", "output=runs/t", "lang=en"]
    words += ["model.width=32", "model.depth=1", "model.heads=2", "tokenizer.vocabulary=300", "samples.tokens=2"]
    port = free_port()
    children = [start(rank, port, words + ["train.lr=0.1"] * rank) for rank in range(2)]
    said = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [2, 2], said
    assert sum("E2103" in each for each in said) == 1, said
    assert not Path("runs/t").exists()
    port = free_port()
    children = [start(rank, port, words) for rank in range(2)]
    said = [child.communicate(timeout=100)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert "step 3: held out" in said[0]
    assert "done: runs/t" in said[0]
    assert said[1] == ""
    assert Run(Path("runs/t")).state == "finished"


def call(**settings: object) -> Call:
    return Call((), dict(settings), Voice("en", quiet=True))


def test_a_missing_rendezvous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(DanluError) as caught, joined(call()):
        pass
    assert (caught.value.code, caught.value.found) == ("E2101", ["MASTER_ADDR", "MASTER_PORT"])
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    for rank in ("1", "0"):  # nobody there, and nobody else comes
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(DanluError) as caught, joined(call(), timedelta(seconds=0.5)):
            pass
        assert caught.value.code == "E2102"
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined(call()) as world:
        assert world.alone


def test_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(**changes: object) -> int:
        return wanted(Pretrain(start="gpt-tiny", **changes))

    assert asked() == 1
    assert asked(train={"processes": 3}, device="cpu") == 3
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert (asked(), asked(device="cpu"), asked(device="cuda:1"), asked(train={"processes": 2})) == (4, 1, 1, 2)
    assert wanted(Common()) == 1  # a verb that trains nothing
    for changes, possible in (({"train": {"processes": 8}}, 4), ({"train": {"processes": 2}, "device": "cuda:1"}, 1)):
        with pytest.raises(DanluError) as caught:
            asked(**changes)
        assert (caught.value.code, caught.value.possible) == ("E2105", possible)
