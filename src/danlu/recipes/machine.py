"""What this machine has: memory, processor, and whether bf16 pays."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

FAST_BF16 = ("amx_bf16", "avx512_bf16")


def total_memory() -> int:
    """Bytes of memory this process may use: the machine's, or its container's limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        text = limit.read_text().strip() if limit.is_file() else "max"
        whole = min(whole, int(text)) if text.isdigit() else whole
    return whole


def available_memory() -> int:
    """Bytes that can be taken now without pushing anything out."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return total_memory()
    return min(free, total_memory())


def processor() -> str:
    return next(_cpuinfo("model name"), "") or platform.processor() or platform.machine()


def bf16_is_fast(device: str) -> bool:
    """Whether a matrix product in bf16 runs faster than in float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    flags = next(_cpuinfo("flags"), "").split() + next(_cpuinfo("Features"), "").split()
    return any(flag in flags for flag in (*FAST_BF16, "bf16"))


def _cpuinfo(name: str) -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name)
