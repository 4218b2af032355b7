"""One pickle to one safetensors file: the only place that unpickles.

It is run by its path, as `python -I unpickle.py FROM TO`, and knows nothing of Danlu, so that the process holds little
that could be reached. When it fails it prints one line of JSON.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SAFE_SINCE = (2, 10)  # older restricted readers can be made to corrupt memory (CVE-2026-24747)
SECONDS = 3_600


def main(source: Path, target: Path) -> None:
    """ValueError where the pickle holds more than tensors; torch's own errors where it cannot be read."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_SINCE:
        raise ValueError(f"torch {torch.__version__} reads pickles unsafely; 2.10 or newer is needed")
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    save_file(tensors_in(torch.load(source, map_location="cpu", weights_only=True)), target, {"format": "pt"})


def tensors_in(data: Any) -> dict[str, Tensor]:
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
            raise ValueError(f"{name!r} is not a plain tensor: {type(value).__name__}")
        same = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and same in seen:  # another name of a tied tensor
            continue
        seen.add(same)
        whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
        tensors[name] = value.detach() if whole else value.detach().clone(memory_format=torch.contiguous_format)
    return tensors


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {str(error)[:500]}"}))
        sys.exit(1)
