"""Foreign and damaged files: refused with a number, in bounded time and memory."""

import json
import os
import random
import resource
import shutil
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from danlu.checkpoint import Checkpoint, find_model
from danlu.checkpoint.headers import DTYPES, read_header, write_tensors
from danlu.checkpoint.weights import open_weights, weight_files, write_weights
from danlu.errors import DanluError

Header = dict[str, Any]
GOOD: Header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}


def write(path: Path, header: Header | bytes, data: bytes = b"\0" * 24, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return path


def entry(**changes: Any) -> Header:
    return {"a": GOOD["a"] | changes}


@pytest.mark.parametrize(
    ("header", "data", "length", "code"),
    [
        (GOOD, b"\0" * 23, None, "E1422"),  # cut
        (GOOD, b"\0" * 25, None, "E1422"),  # something behind
        (GOOD, b"\0" * 24, 2**63, "E1423"),  # a header without end
        (GOOD, b"\0" * 24, 9_000_000, "E1422"),  # a header longer than the file
        (b"[]", b"", None, "E1422"),
        (b"\xff\xfe", b"", None, "E1422"),
        (json.dumps(GOOD).encode().replace(b"}}", b"}, " + json.dumps(GOOD).encode()[1:]), b"\0" * 24, None, "E1422"),
        (b"[" * 100_000, b"", None, "E1422"),
        (entry(dtype="C64"), b"\0" * 24, None, "E1423"),
        (entry(dtype=["F32"]), b"\0" * 24, None, "E1423"),
        (entry(shape=[2**40, 2**40]), b"\0" * 24, None, "E1422"),
        (entry(shape=[-2, -3]), b"\0" * 24, None, "E1422"),
        (entry(shape=[True, 6]), b"\0" * 24, None, "E1422"),
        (entry(shape=[1] * 9), b"\0" * 24, None, "E1423"),
        (entry(data_offsets=[4, 28]), b"\0" * 28, None, "E1422"),  # a gap
        (entry(data_offsets=[0, 24, 0]), b"\0" * 24, None, "E1422"),
        (entry(data_offsets="ab"), b"\0" * 24, None, "E1422"),
        (GOOD | {"b": GOOD["a"]}, b"\0" * 24, None, "E1422"),  # an overlap
        ({"x" * 2_000: GOOD["a"]}, b"\0" * 24, None, "E1423"),
        ({"a": 3}, b"", None, "E1422"),
    ],
)  # fmt: skip
def test_headers(header: Header | bytes, data: bytes, length: int | None, code: str, tmp_path: Path) -> None:
    with pytest.raises(DanluError) as caught:
        read_header(write(tmp_path / "x.safetensors", header, data, length))
    assert caught.value.code == code


def test_too_many_tensors(tmp_path: Path) -> None:
    many = {str(index): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for index in range(100_001)}
    with pytest.raises(DanluError, match="E1423"):
        read_header(write(tmp_path / "x.safetensors", many, b""))


def test_our_files_are_safetensors_files(tmp_path: Path) -> None:
    tensors = {name: (torch.rand(3, 5) * 4).to(dtype) for name, dtype in DTYPES.items()}
    tensors |= {"turned": torch.randn(4, 6).T, "none": torch.zeros(0, 3), "number": torch.tensor(3.5)}
    with (tmp_path / "model.safetensors").open("wb") as file:
        write_tensors(file, tensors)
    read = __import__("safetensors.torch").torch.load_file(tmp_path / "model.safetensors")
    assert read.keys() == tensors.keys()
    assert all(read[name].dtype == tensor.dtype and torch.equal(read[name], tensor) for name, tensor in tensors.items())
    ours = open_weights(tmp_path)
    assert all(torch.equal(ours[name], tensors[name]) for name in tensors)
    assert ours.bytes == sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize(
    ("weight_map", "code"),
    [
        ({"a": "../outside.safetensors"}, "E1425"), ({"a": "/etc/passwd"}, "E1425"),
        ({"a": "sub/x.safetensors"}, "E1425"), ({"a": "pytorch_model.bin"}, "E1425"),
        ({"a": "..\\x.safetensors"}, "E1425"), ({"a": 3}, "E1421"), ([], "E1421"), ({}, "E1421"),
        ({"a": "absent.safetensors"}, "E1422"), ({"a": "link.safetensors"}, "E1425"),
    ],
)  # fmt: skip
def test_an_index_that_leads_out(weight_map: Any, code: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "m"
    folder.mkdir()
    os.symlink("../outside.safetensors", folder / "link.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(DanluError) as caught:
        open_weights(folder)
    assert caught.value.code == code


def test_a_link_that_leads_out(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "m"
    folder.mkdir()
    os.symlink("../outside.safetensors", folder / "model.safetensors")
    with pytest.raises(DanluError, match="E1425"):
        open_weights(folder)


def test_parts_and_index_agree(tmp_path: Path) -> None:
    write_weights(tmp_path, {"a": torch.zeros(8), "b": torch.ones(8), "c": torch.ones(1)}, shard=36)
    assert [path.name for path in weight_files(tmp_path)] == [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = tmp_path / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    for change in ({"a": "model-00002-of-00002.safetensors"}, {"d": "model-00001-of-00002.safetensors"}):
        index.write_text(json.dumps({"weight_map": good["weight_map"] | change}))
        with pytest.raises(DanluError, match="E1422"):
            open_weights(tmp_path)


def test_nothing_but_pickles(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    (tmp_path / "m/model.safetensors").rename(tmp_path / "m/pytorch_model.bin")
    (tmp_path / "m/golden.safetensors").unlink()
    with pytest.raises(DanluError, match=f"danlu convert {tmp_path / 'm'}"):
        Checkpoint.load(tmp_path / "m")
    (tmp_path / "m/pytorch_model.bin").unlink()
    with pytest.raises(DanluError, match="E1427"):
        Checkpoint.load(tmp_path / "m")


VALUES = [0, -1, 1, 2**31, 2**63, 2**200, 1e308, -0.5, None, True, "", "x" * 500, "relu", [], {}, [[]], {"a": {"b": 1}}]


def mutated_json(raw: bytes, draw: random.Random) -> bytes:
    """A value replaced, a name dropped or doubled; or bytes changed."""
    if draw.random() < 0.3:
        return mutated_bytes(raw, draw)
    data = json.loads(raw)
    group = data
    while draw.random() < 0.5:
        inner = [value for value in group.values() if isinstance(value, dict) and value]
        if not inner:
            break
        group = draw.choice(inner)
    for _ in range(draw.randint(1, 3)):
        if group:
            name = draw.choice(list(group))
            if draw.random() < 0.15:
                del group[name]
            else:
                group[name] = draw.choice([*VALUES, draw.randint(-5, 5000)])
    return json.dumps(data).encode()


def mutated_bytes(raw: bytes, draw: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(draw.randint(1, 5)):
        place = draw.randrange(len(changed))
        if draw.random() < 0.7:
            changed[place] = draw.randrange(256)
        else:
            del changed[place : place + draw.randint(1, 40)]
        if not changed:
            break
    return bytes(changed)


def mutated_weights(raw: bytes, draw: random.Random) -> bytes:
    """The header's JSON changed, with its length made right; or raw bytes of the header; or the file cut."""
    length = struct.unpack("<Q", raw[:8])[0]
    if draw.random() < 0.6:
        header = mutated_json(raw[8 : 8 + length], draw)
        return struct.pack("<Q", len(header)) + header + raw[8 + length :]
    if draw.random() < 0.5:
        return raw[: draw.randrange(len(raw))]
    return mutated_bytes(raw[: 8 + length], draw) + raw[8 + length :]


FUZZED = {
    "config.json": mutated_json, "danlu.json": mutated_json, "model.safetensors.index.json": mutated_json,
    "golden.json": mutated_json, "model-00001-of-00002.safetensors": mutated_weights,
}  # fmt: skip


def test_mutated_files_give_numbered_errors_only(saved: Path, tmp_path: Path, full: bool) -> None:
    """Each within 2 seconds and 1 GB."""
    loaded = Checkpoint.load(saved)
    folder = loaded.save(tmp_path / "m", shard=100_000)
    assert len(list(folder.glob("model-*.safetensors"))) == 2
    good = {name: (folder / name).read_bytes() for name in FUZZED}
    draw = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes: dict[str, int] = {}
    for turn in range(10_000 if full else 300):
        name = draw.choice(list(FUZZED))
        changed = FUZZED[name](good[name], draw)
        (folder / name).write_bytes(changed)
        start = time.perf_counter()
        try:
            Checkpoint.load(folder).replay()
            code = "fine"
        except DanluError as error:
            error.render("en")
            code = error.code
        except BaseException as error:
            raise AssertionError(f"turn {turn}, {name}: {error!r}\n{changed[:3000]!r}") from error
        assert time.perf_counter() - start < 2, (turn, name, changed[:3000])
        codes[code] = codes.get(code, 0) + 1
        (folder / name).write_bytes(good[name])
    assert Checkpoint.load(folder).replay().holds
    assert {"fine", "E1408", "E1421", "E1422"} <= codes.keys(), codes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kilobytes


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(DanluError, match="E1421"):
        Checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text("{" * 100_000)
    with pytest.raises(DanluError, match="E1421"):
        Checkpoint.load(tmp_path)
    with pytest.raises(DanluError, match="E1420"):
        find_model(tmp_path / "config.json")
