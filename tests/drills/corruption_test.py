"""Bytes flipped, files cut, emptied and swapped: always found, always named, the newest whole checkpoint used."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import TinyLoader, outcome, trainer

from danlu.errors import DanluError
from danlu.train.evaluation import HeldOut
from danlu.train.objectives import TokenObjective
from danlu.train.resume import Checkpoint, Checkpoints

NAMED = {"E1601", "E1602", "E1603", "E1604", "E1605", "E1606"}


@pytest.fixture(scope="module")
def run(ground: Path) -> Path:
    """A finished run with checkpoints of steps 5, 10, 15 and 20; the last one holds every kind of file."""
    folder = ground / "corrupted"
    losses = iter([1.0, 2.0, 3.0, 4.0])
    trainer(folder, steps=20, keep=4, evaluate=lambda _: {"loss": next(losses)}, evaluate_every=5).run()
    return folder


@pytest.fixture
def newest(run: Path) -> Iterator[Path]:
    folder = run / "checkpoints/step-00000020"
    assert len(list(folder.iterdir())) == 5
    yield folder
    assert look(folder)[0].step == 20  # the test put everything back


def look(folder: Path) -> tuple[Checkpoint, list[DanluError]]:
    found, damaged = Checkpoints(folder.parent, keep=2, every=5, back=100).newest()
    assert found is not None
    return found, damaged


def assert_found(folder: Path) -> None:
    found, damaged = look(folder)
    assert found.step == 15
    (reason,) = damaged
    assert reason.code in NAMED
    assert "step-00000020" in reason.render("en")


def flip(path: Path, at: int, bits: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ bits]))


def headers(folder: Path) -> list[tuple[Path, int]]:
    """Every byte of every header, of the manifest and of the state."""
    places = []
    for path in sorted(folder.iterdir()):
        raw = path.read_bytes()
        end = 8 + int.from_bytes(raw[:8], "little") if path.suffix == ".safetensors" else len(raw)
        places += [(path, at) for at in range(end)]
    return places


def test_each_byte_of_headers_manifest_and_state(newest: Path, full: bool) -> None:
    chance = random.Random(0)
    places = headers(newest)
    manifest = [place for place in places if place[0].name == "manifest.json"]
    chosen = places if full else chance.sample(places, 300) + chance.sample(manifest, 100)
    for path, at in chosen:
        bits = 1 << chance.randrange(8)
        flip(path, at, bits)
        assert_found(newest)
        flip(path, at, bits)


def test_bytes_of_data(newest: Path, full: bool) -> None:
    chance = random.Random(1)
    files = [path for path in newest.iterdir() if path.suffix == ".safetensors"]
    for _ in range(1000 if full else 100):
        path = chance.choice(files)
        at, bits = chance.randrange(path.stat().st_size), chance.randrange(1, 256)
        flip(path, at, bits)
        assert_found(newest)
        flip(path, at, bits)


def test_truncations(newest: Path, full: bool) -> None:
    chance = random.Random(2)
    files = sorted(newest.iterdir())
    for turn in range(500 if full else 60):
        path = files[turn % len(files)]
        raw = path.read_bytes()
        path.write_bytes(raw[: 0 if turn < len(files) else chance.randrange(len(raw))])
        assert_found(newest)
        path.write_bytes(raw)


def test_bytes_added(newest: Path) -> None:
    for path in newest.iterdir():
        raw = path.read_bytes()
        for more in (b"\0", b" ", b"\n", raw):
            path.write_bytes(raw + more)
            assert_found(newest)
        path.write_bytes(raw)


def test_files_of_another_step(newest: Path) -> None:
    for path in newest.iterdir():
        other = newest.parent / "step-00000015" / path.name
        raw, strange = path.read_bytes(), other.read_bytes()
        if raw != strange:  # the best weights are the same in both
            path.write_bytes(strange)
            assert_found(newest)
            path.write_bytes(raw)


def test_a_whole_checkpoint_under_another_name(newest: Path) -> None:
    impostor = newest.with_name("step-00000025")
    shutil.copytree(newest, impostor)
    found, damaged = look(newest)
    assert (found.step, [error.code for error in damaged]) == (20, ["E1602"])
    shutil.rmtree(impostor)


def test_a_damaged_run_goes_on_to_the_same_bits(ground: Path) -> None:
    def train(name: str) -> None:
        held_out = HeldOut(TokenObjective(), TinyLoader(), batches=2)
        trainer(ground / name, steps=30, evaluate=held_out, evaluate_every=5).run()

    train("sound")
    train("hurt")
    checkpoints = sorted((ground / "hurt/checkpoints").iterdir())
    assert len(checkpoints) == 3
    for damaged in (checkpoints[1:], checkpoints):  # at first one is left, then none
        for folder in damaged:
            flip(folder / "model.safetensors", 3000, 1)
        train("hurt")
        assert outcome(ground / "hurt") == outcome(ground / "sound")
