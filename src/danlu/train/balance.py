"""How several losses share one model: what to multiply each by, and what to do where their gradients disagree.

A rule gives weights before a step and learns from what the step found; what it remembers is plain numbers, which stand
in a checkpoint. Losses go by name and are means over their targets. Shapes: K losses, N numbers of a gradient.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from danlu.data.order import key

BalanceName = Literal["fixed", "uncertainty", "pace", "norms", "surgery"]
Numbers = Mapping[str, float]
TINY = 1e-12


class Balance:
    """Every loss counts as its weight says: the rule that does nothing, and what the others begin with.

    apart: whether the gradient of each loss is taken by itself, from batches that hold one loss each.
    """

    apart = False

    def __init__(self, names: Sequence[str]):
        self.names = list(names)

    def weights(self) -> dict[str, float]:
        """What each loss is multiplied by at the next step, beside its own weight."""
        return dict.fromkeys(self.names, 1.0)

    def joined(self, gradients: Tensor, position: int) -> Tensor:
        """What becomes of the weighted gradients (K, N) of a step: (N,)."""
        return gradients.sum(0)

    def learn(self, losses: Numbers, norms: Numbers) -> None:
        """A step was made. losses: those that took part. norms: lengths of their weighted gradients, where apart."""

    def plain(self) -> dict[str, Any]:
        """What it remembers, as JSON keeps it to the bit."""
        return {name: value for name, value in vars(self).items() if name.startswith("_")}

    def read(self, state: Mapping[str, Any]) -> None:
        """Become what `plain` told of."""
        vars(self).update(state)


class Uncertainty(Balance):
    """exp(-s) · loss + s / 2 with s = log σ² for each loss (Kendall et al. 2018, eq. 10, for losses that are negative
    log-likelihoods). s follows its best value, log(2 · loss), by a share of the way at each step of its loss."""

    share = 0.1

    def __init__(self, names: Sequence[str]):
        super().__init__(names)
        self._logs = dict.fromkeys(self.names, 0.0)

    def weights(self) -> dict[str, float]:
        return {name: math.exp(-log) for name, log in self._logs.items()}

    def learn(self, losses: Numbers, norms: Numbers) -> None:
        for name, loss in losses.items():
            self._logs[name] += self.share * (math.log(2 * max(loss, TINY)) - self._logs[name])


class Pace(Balance):
    """K · softmax(ratio / temperature), where a ratio is how much of a loss was left after the last stretch (Liu et al.
    2019, eq. 7): losses that fall slowly weigh more. They sum to K; even until two stretches have been seen."""

    temperature = 2.0

    def __init__(self, names: Sequence[str], stretch: int):
        """stretch: so many steps, over which losses are averaged."""
        super().__init__(names)
        self.stretch = stretch
        self._seen = 0
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._means: list[dict[str, float]] = []  # of the two stretches before

    def weights(self) -> dict[str, float]:
        ratios = dict.fromkeys(self.names, 1.0)
        if len(self._means) == 2:
            before, last = self._means
            ratios |= {name: last[name] / before[name] for name in last if before.get(name, 0.0) > 0}
        highest = max(ratios.values())
        shares = {name: math.exp((ratio - highest) / self.temperature) for name, ratio in ratios.items()}
        return {name: len(self.names) * share / sum(shares.values()) for name, share in shares.items()}

    def learn(self, losses: Numbers, norms: Numbers) -> None:
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + loss
            self._counts[name] = self._counts.get(name, 0) + 1
        self._seen += 1
        if self._seen == self.stretch:
            means = {name: total / self._counts[name] for name, total in self._sums.items()}
            self._means = [*self._means[-1:], means]
            self._seen, self._sums, self._counts = 0, {}, {}


class Norms(Balance):
    """Gradients of like length, longer where a loss lags behind (GradNorm, Chen et al. 2018, section 3.1)."""

    apart = True
    alpha, rate = 1.5, 0.025

    def __init__(self, names: Sequence[str]):
        super().__init__(names)
        self._weights = dict.fromkeys(self.names, 1.0)
        self._first: dict[str, float] = {}  # the losses of the first step

    def weights(self) -> dict[str, float]:
        return dict(self._weights)

    def learn(self, losses: Numbers, norms: Numbers) -> None:
        self._first = self._first or dict(losses)
        if norms and norms.keys() == self._weights.keys() == self._first.keys():
            wanted = wanted_norms(norms, losses, self._first, self.alpha)
            self._weights = moved_weights(self._weights, norms, wanted, self.rate)


class Surgery(Balance):
    """Of each gradient, what points against another is cut away (PCGrad, Yu et al. 2020)."""

    apart = True

    def __init__(self, names: Sequence[str], seed: int):
        super().__init__(names)
        self.seed = seed

    def joined(self, gradients: Tensor, position: int) -> Tensor:
        chance = torch.Generator().manual_seed(int(key(self.seed, position)[0] >> 1))
        return without_conflict(gradients, orders(len(gradients), chance))


def balance(kind: BalanceName, names: Sequence[str], seed: int = 0, stretch: int = 50) -> Balance:
    """The rule of this name."""
    if kind == "pace":
        return Pace(names, stretch)
    if kind == "surgery":
        return Surgery(names, seed)
    return {"fixed": Balance, "uncertainty": Uncertainty, "norms": Norms}[kind](names)


def wanted_norms(norms: Numbers, losses: Numbers, first: Numbers, alpha: float) -> dict[str, float]:
    """The length each weighted gradient should have: the mean, times how far its loss lags behind to the power alpha.
    first: the losses of the first step."""
    mean = sum(norms.values()) / len(norms)
    left = {name: losses[name] / max(first[name], TINY) for name in norms}
    usual = sum(left.values()) / len(left)
    return {name: mean * (left[name] / max(usual, TINY)) ** alpha for name in norms}


def moved_weights(weights: Numbers, norms: Numbers, wanted: Numbers, rate: float) -> dict[str, float]:
    """One step of the weights towards gradients of the wanted lengths; they stay positive and sum to what they did.

    norms: of the gradients with their weights. The step is one of the logarithm, so that losses of any size move alike.
    """
    moved = {
        name: weight * math.exp(rate * math.copysign(1.0, wanted[name] - norms[name]) * (wanted[name] != norms[name]))
        for name, weight in weights.items()
    }
    scale = sum(weights.values()) / sum(moved.values())
    return {name: weight * scale for name, weight in moved.items()}


def without_conflict(gradients: Tensor, order: Sequence[Sequence[int]]) -> Tensor:
    """The sum of gradients (K, N), each without what points against others (algorithm 1): (N,).

    order: for each gradient, the others in the order they are looked at; chance, handed in.
    """
    lengths = gradients.square().sum(1)
    total = torch.zeros_like(gradients[0])
    for index, others in enumerate(order):
        mine = gradients[index].clone()
        for other in others:
            along = torch.dot(mine, gradients[other])
            if other != index and along < 0 and lengths[other] > 0:
                mine -= along / lengths[other] * gradients[other]
        total += mine
    return total


def orders(count: int, generator: torch.Generator) -> list[list[int]]:
    """For each of several gradients, the others in an order by chance."""
    drawn = [torch.randperm(count, generator=generator).tolist() for _ in range(count)]
    return [[other for other in each if other != index] for index, each in enumerate(drawn)]
