"""The safetensors format, looked at before it is believed, and written as a stream.

A file is 8 bytes of header length, a JSON header (name -> dtype, shape, data_offsets), and the tensors' bytes without a
gap. Everything the header says is checked against the file's size before a byte of memory is set aside.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from danlu.errors import DanluError

MOST_HEADER, MOST_TENSORS, MOST_AXES, LONGEST_NAME = 10_000_000, 100_000, 8, 1_000

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Writable(Protocol):
    def write(self, raw: Any, /) -> object: ...


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: its bytes are start..end."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # counted from the file's beginning
    end: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Entry]:
    """name -> entry. E1422 where the file is damaged or no safetensors file, E1423 over the limits."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = struct.unpack("<Q", _exactly(file, 8))[0]
            if length > MOST_HEADER:
                raise _over(path, f"a header of {length} bytes", MOST_HEADER)
            header = json.loads(_exactly(file, length), object_pairs_hook=_once)
        return _entries(path, header, 8 + length, size)
    except OSError as error:
        raise DanluError("E1422", where=path, found=error.strerror) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DanluError("E1422", where=path, found=str(error) or type(error).__name__) from error


def _entries(path: Path, header: Any, end: int, size: int) -> dict[str, Entry]:
    if not isinstance(header, dict):
        raise ValueError("the header is not a table")
    header.pop("__metadata__", None)
    if len(header) > MOST_TENSORS:
        raise _over(path, f"{len(header)} tensors", MOST_TENSORS)
    entries = {name: _entry(path, name, facts, end) for name, facts in header.items()}
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise ValueError(f"{name} begins at {entry.start}, not at {end}")
        if entry.count * entry.dtype.itemsize != entry.end - entry.start:
            raise ValueError(f"{name} has {entry.end - entry.start} bytes for {list(entry.shape)} {entry.dtype}")
        end = entry.end
    if end != size:
        raise ValueError(f"the header speaks of {end} bytes, the file has {size}")
    return entries


def _entry(path: Path, name: str, facts: Any, data: int) -> Entry:
    dtype, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if len(name) > LONGEST_NAME or len(shape) > MOST_AXES:
        raise _over(path, f"{name[:50]} of {len(shape)} axes", f"{LONGEST_NAME} characters, {MOST_AXES}")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise DanluError("E1423", where=path, found=f"{name}: {dtype}", possible=list(DTYPES))
    if len(offsets) != 2 or not all(type(number) is int and number >= 0 for number in [*shape, *offsets]):
        raise ValueError(f"{name}: {shape} {offsets}")
    return Entry(DTYPES[dtype], tuple(shape), data + offsets[0], data + offsets[1])


def read_tensor(path: Path, entry: Entry) -> Tensor:
    """One tensor, in memory of its own. E1422 where the file has become shorter."""
    raw = torch.empty(entry.end - entry.start, dtype=torch.uint8)
    try:
        with path.open("rb") as file:
            file.seek(entry.start)
            if file.readinto(raw.numpy().data) != raw.numel():
                raise DanluError("E1422", where=path, found=f"the file ends before byte {entry.end}")
    except OSError as error:
        raise DanluError("E1422", where=path, found=error.strerror) from error
    return raw.view(entry.dtype).reshape(entry.shape)


def write_tensors(file: Writable, tensors: Mapping[str, Tensor]) -> None:
    """Header, then each tensor's bytes: no second copy of the whole in memory. Equal tensors give equal files."""
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))  # so that each stays aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(struct.pack("<Q", len(raw)) + raw)
    for _, tensor in ordered:
        file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _exactly(file: BinaryIO, length: int) -> bytes:
    raw = file.read(length)
    if len(raw) != length:
        raise ValueError(f"the file ends after {len(raw)} of {length} header bytes")
    return raw


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name appears twice")
    return table


def _over(path: Path, found: str, possible: object) -> DanluError:
    return DanluError("E1423", where=path, found=found, possible=possible)
