"""The order of samples and the chance in each of them: pure functions of (seed, epoch, sample), without any state.

A killed run goes on with the same bits because nothing here remembers anything; workers, prefetching and the number of
machines cannot change what a sample looks like.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Words = NDArray[np.uint64]

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, made odd
ROUNDS = 6
FEWEST_BITS = 6  # fewer leave too few round functions for a fair shuffle of a handful of samples


def mixed(words: Words) -> Words:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): every bit of the input moves every bit of the output."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def key(*parts: ArrayLike) -> Words:
    """One 64-bit number for each combination of whole numbers; arrays broadcast. At least one-dimensional."""
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = mixed(state * GAMMA + np.atleast_1d(np.asarray(part)).astype(np.uint64) + GAMMA)
    return state


def uniforms(seed: int, epochs: ArrayLike, samples: ArrayLike, width: int, stream: int = 0) -> NDArray[np.float64]:
    """Evenly distributed numbers in [0, 1), (B, width): row b belongs to (seed, epochs[b], samples[b], stream).

    A longer row begins like a shorter one. `stream` keeps apart the different uses of chance within one sample.
    """
    rows = key(seed, stream, epochs, samples)
    steps = np.arange(1, width + 1, dtype=np.uint64) * GAMMA
    return (mixed(rows[:, None] + steps) >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class Chance:
    """The randomness of a batch: row b belongs to (seed, epochs[b], samples[b])."""

    seed: int
    epochs: NDArray[np.int64]
    samples: NDArray[np.int64]

    def draw(self, width: int, stream: int) -> NDArray[np.float64]:
        """Numbers in [0, 1), (B, width)."""
        return uniforms(self.seed, self.epochs, self.samples, width, stream)


def permuted(seed: int, epochs: ArrayLike, index: ArrayLike, n: int) -> NDArray[np.int64]:
    """Where the shuffle of (seed, epoch) sends each index of [0, n): one to one, in constant memory.

    A Feistel network over the smallest power of two that holds n (Luby, Rackoff 1988; halves may differ in size); what
    lands outside [0, n) is sent through again until it lands inside (cycle walking: Black, Rogaway 2002), for n above
    32 twice at most on average.
    """
    values, chance = np.broadcast_arrays(np.atleast_1d(np.asarray(index)).astype(np.uint64), key(seed, epochs))
    values = values.copy()
    bits = max(FEWEST_BITS, (n - 1).bit_length())
    outside = np.ones(values.shape, bool)
    while outside.any():
        values[outside] = _scrambled(values[outside], chance[outside], bits)
        outside = values >= np.uint64(n)
    return values.astype(np.int64)


def _scrambled(values: Words, chance: Words, bits: int) -> Words:
    low = bits // 2
    left, right = values >> np.uint64(low), values & np.uint64(2**low - 1)
    for _ in range(ROUNDS // 2):
        chance = chance + GAMMA
        left = left ^ (mixed(right + chance) & np.uint64(2 ** (bits - low) - 1))
        chance = chance + GAMMA
        right = right ^ (mixed(left + chance) & np.uint64(2**low - 1))
    return (left << np.uint64(low)) | right
