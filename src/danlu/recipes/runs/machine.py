"""What this machine has: memory and a processor."""

import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path


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


def peak_memory() -> int:
    """Bytes of memory this process has had at its largest."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def processor() -> str:
    return next(_cpuinfo("model name"), "") or platform.processor() or platform.machine()


def size_in_words(count: float) -> str:
    """Bytes in words: 512 B, 3.4 MB, 12 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _cpuinfo(name: str) -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name)
