"""Times of short pieces of work, in turn, so that a slow second of the machine falls on all of them."""

import time
from collections.abc import Callable, Mapping


def quantile(works: Mapping[str, Callable[[], object]], rounds: int, share: float = 0.2) -> dict[str, float]:
    """Seconds of each piece of work that so large a share of its runs keeps within."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: sorted(each)[int(len(each) * share)] for name, each in times.items()}
