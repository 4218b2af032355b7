"""The compiled kernels: found, checked, and called.

The library is built when danlu is installed, where there is a C compiler (hatch_build.py). It takes torch's own
threads: its OpenMP calls go to the runtime that torch has loaded, so that there is one pool of threads and not two.
"""

import ctypes
from ctypes import Structure, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import torch

FILE = Path(__file__).parent / "danlu_native.so"


class CLayer(Structure):
    _fields_ = (
        ("codes", c_void_p), ("scales", c_void_p), ("zeros", c_void_p), ("bias", c_void_p), ("outputs", c_int64),
        ("inputs", c_int64), ("group", c_int64), ("bits", c_int32), ("activation", c_int32), ("input_scale", c_float),
    )  # fmt: skip


class CNorm(Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("eps", c_float), ("rms", c_int32))


class CBlock(Structure):
    _fields_ = (
        *((name, CLayer) for name in ("query", "key", "value", "output", "up", "gate", "down")),
        ("attention_norm", CNorm), ("mlp_norm", CNorm),
    )  # fmt: skip


class CShape(Structure):
    _fields_ = (
        ("width", c_int64), ("heads", c_int64), ("kv_heads", c_int64), ("head_size", c_int64), ("scale", c_float),
        ("norm_after", c_int32), ("parallel", c_int32), ("neighbours", c_int32),
    )  # fmt: skip


class CRows(Structure):
    _fields_ = (
        ("x", c_void_p), ("batch", c_int64), ("count", c_int64), ("past", c_int64), ("room", c_int64),
        ("keys", c_void_p), ("values", c_void_p), ("cosine", c_void_p), ("sine", c_void_p), ("scores", c_void_p),
        ("turn_stride", c_int64), ("scores_batch_stride", c_int64), ("scores_head_stride", c_int64),
        ("causal", c_int32),
    )  # fmt: skip


CROSSING = (CLayer, CNorm, CBlock, CShape, CRows)


class Native:
    """A loaded library, and the path through it that this processor takes."""

    def __init__(self, file: Path):
        self.c = ctypes.CDLL(str(file))
        for name, result, arguments in (
            ("danlu_paths", c_int, ()), ("danlu_path_name", c_char_p, (c_int,)), ("danlu_path_runs", c_int, (c_int,)),
            ("danlu_sizes", c_int64, (c_int,)),
            ("danlu_linear", c_int, (c_int, c_void_p, c_void_p, c_int64, c_void_p, c_int)),
            ("danlu_dense", None, (c_int, c_void_p, c_void_p, c_void_p, c_int)),
            ("danlu_blocks", c_int, (c_int, c_void_p, c_void_p, c_int64, c_void_p, c_int)),
        ):  # fmt: skip
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        told, ours = [self.c.danlu_sizes(which) for which in range(len(CROSSING))], list(map(ctypes.sizeof, CROSSING))
        if told != ours:
            raise OSError(f"{file} was built for another version: {told}, not {ours}")
        names = [self.c.danlu_path_name(path).decode() for path in range(self.c.danlu_paths())]
        self.paths: dict[str, int] = {name: path for path, name in enumerate(names) if self.c.danlu_path_runs(path)}
        self.best = list(self.paths)[-1]
        self.path = self.paths[self.best]

    def linear(self, layer: CLayer, x: torch.Tensor, y: torch.Tensor, path: int | None = None) -> None:
        """x (M, I) float32 -> y (M, O), which is filled."""
        where = self.path if path is None else path
        threads = torch.get_num_threads()
        if self.c.danlu_linear(where, ctypes.byref(layer), x.data_ptr(), x.shape[0], y.data_ptr(), threads):
            raise MemoryError("no memory for the codes of inputs")

    def dense(self, layer: CLayer, levels: torch.Tensor | None, weights: torch.Tensor, path: int | None = None) -> None:
        """The weights (O, I) float32 that codes stand for, which are filled."""
        where = self.path if path is None else path
        table = None if levels is None else levels.data_ptr()
        self.c.danlu_dense(where, ctypes.byref(layer), table, weights.data_ptr(), torch.get_num_threads())

    def blocks(self, shape: CShape, blocks: Any, rows: CRows, path: int | None = None) -> None:
        where = self.path if path is None else path
        arguments = (ctypes.byref(shape), blocks, len(blocks), ctypes.byref(rows), torch.get_num_threads())
        if self.c.danlu_blocks(where, *arguments):
            raise MemoryError("no memory for what stands between layers")


@cache
def _loaded() -> Native | str:
    if not FILE.is_file():
        return "no compiled kernels: there was no C compiler when danlu was installed"
    try:
        return Native(FILE)
    except OSError as error:
        return str(error)


def native() -> Native | None:
    """The compiled kernels, or None where there are none; `status` says why."""
    found = _loaded()
    return found if isinstance(found, Native) else None


def status() -> tuple[str, str]:
    """The path that products of codes take here (`torch` where nothing is compiled), and why, where it is that one."""
    found = _loaded()
    return (found.best, "") if isinstance(found, Native) else ("torch", found)


def pointers(tensors: list[torch.Tensor]) -> Any:
    """A C array of where tensors lie."""
    return (c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


__all__ = ["CBlock", "CLayer", "CNorm", "CRows", "CShape", "Native", "native", "pointers", "status"]
