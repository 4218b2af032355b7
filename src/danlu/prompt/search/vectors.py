"""Soft prompts without gradients: an evolution strategy on few numbers, spread over the vectors of a prompt
(BBT, Sun et al. 2022)."""

from importlib.util import find_spec

import numpy as np

from danlu.errors import DanluError
from danlu.prompt.search.harness import Searcher

Numbers = tuple[float, ...]
DIGITS = 6  # after the point: what the ledger keeps, and the strategy is told


def evolution_strategy(size: int, seed: int = 0, *, batch: int = 20, spread: float = 1.0) -> Searcher[Numbers]:
    """CMA-ES (Hansen 2016) around zero: candidates are `size` numbers. It asks for all rows alike: `halving.first=0`.

    E2352 where the extra `search` is not installed.
    """
    if find_spec("cmaes") is None:
        raise DanluError("E2352", found="cmaes")
    from cmaes import CMA

    strategy = CMA(mean=np.zeros(size), sigma=spread, seed=seed, population_size=batch)
    while True:
        asked = [tuple(round(float(each), DIGITS) for each in strategy.ask()) for _ in range(batch)]
        scores = yield asked
        order = sorted(range(batch), key=lambda number: scores[number], reverse=True)
        strategy.tell([(np.asarray(asked[number]), float(place)) for place, number in enumerate(order)])


def spread_over(numbers: Numbers, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """What the numbers add to the vectors of a prompt: a fixed random matrix times them, (P, D) float32.

    Each vector is of length about one where the numbers are about one.
    """
    matrix = np.random.default_rng([seed, len(numbers)]).standard_normal((shape[0] * shape[1], len(numbers)))
    moved = matrix @ np.asarray(numbers) / np.sqrt(len(numbers) * shape[1])
    return np.asarray(moved.reshape(shape), np.float32)
