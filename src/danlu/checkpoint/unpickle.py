"""One pickle to one safetensors file: the only place that unpickles, run as `python -I -m danlu.checkpoint.unpickle`.

It prints one line of JSON on failure, and writes the target whole or not at all.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from danlu.checkpoint.headers import NAMES, write_tensors
from danlu.files import TEMPORARY, sync_folder, write_file

SAFE_SINCE = (2, 10)  # older restricted readers can be made to corrupt memory (CVE-2026-24747)
SECONDS = 3_600


def main(source: Path, target: Path) -> None:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_SINCE:
        raise ValueError(f"torch {torch.__version__} reads pickles unsafely; 2.10 or newer is needed")
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tensors = _tensors(torch.load(source, map_location="cpu", weights_only=True))
    temporary = target.with_name(f"{target.name}{TEMPORARY}{os.getpid()}")
    try:
        write_file(temporary, lambda file: write_tensors(file, tensors))
        os.replace(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _tensors(data: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, each once; ValueError where it holds anything else."""
    for name in ("state_dict", "model_state_dict", "model"):
        if isinstance(data, dict) and isinstance(data.get(name), dict):
            data = data[name]
    if not isinstance(data, dict) or not data:
        raise ValueError(f"not a table of tensors: {type(data).__name__}")
    tensors: dict[str, Tensor] = {}
    seen: set[tuple[Any, ...]] = set()
    for name, value in data.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"{name!r} is not a tensor: {type(value).__name__}")
        if value.dtype not in NAMES:
            raise ValueError(f"{name}: {value.dtype}")
        same = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and same in seen:  # another name of a tied tensor
            continue
        seen.add(same)
        tensors[name] = value
    return tensors


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {str(error)[:500]}"}))
        sys.exit(1)
