"""What differs from layer to layer: learning rates, and when a layer begins to train."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from danlu.errors import DanluError
from danlu.train.optimizers import make_optimizer, suggested_rate
from danlu.train.settings import TrainSettings

BLOCK = re.compile(r"(.*)\bblocks\.(\d+)\..*")


def levels(model: nn.Module) -> dict[str, int]:
    """How far from the top each trainable parameter is: 0 for heads and last norms, 1 for the last block of a stack,
    and one more than the first block for what lies below the stacks."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    depth: dict[str, int] = defaultdict(int)
    for name, _ in model.named_parameters():
        if found := BLOCK.fullmatch(name):
            depth[found[1]] = max(depth[found[1]], int(found[2]) + 1)
    below = max(depth.values(), default=0) + 1

    def level(name: str) -> int:
        if found := BLOCK.fullmatch(name):
            return depth[found[1]] - int(found[2])
        return below if "embedding." in name or "relative_bias" in name else 0

    return {name: level(name) for name in names}


def rates_by_layer(model: nn.Module, decay: float) -> dict[str, float]:
    """Each level's rate is `decay` times that of the one above it (Howard and Ruder 2018, 3.2; Clark et al. 2020)."""
    return {name: decay**level for name, level in levels(model).items()} if decay != 1.0 else {}


def set_rates(optimizer: torch.optim.Optimizer, model: nn.Module, *rates: Mapping[str, float]) -> None:
    """Multiply the rates of parameters by name, each group divided into as many as it has rates; the fastest first."""
    if not any(rates):
        return
    factors: dict[int, float] = {}
    for name, parameter in model.named_parameters():
        factor = 1.0
        for each in rates:
            factor *= each.get(name, 1.0)
        factors[id(parameter)] = factor
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        alike: dict[float, list[torch.Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            alike[factors[id(parameter)]].append(parameter)
        for factor, parameters in sorted(alike.items(), key=lambda each: -each[0]):
            rate = {"lr": group["lr"] * factor, "initial_lr": group["initial_lr"] * factor}
            optimizer.add_param_group({**group, **rate, "params": parameters})


def optimizer_for(
    model: nn.Module, settings: TrainSettings, precision: torch.dtype, rates: Mapping[str, float]
) -> torch.optim.Optimizer:
    """The optimiser of a run. rates: by parameter, what its learning rate is multiplied by."""
    lr = settings.lr
    if lr is None:
        widths = [module.embedding_dim for module in model.modules() if isinstance(module, nn.Embedding)]
        lr = suggested_rate(settings.optimizer, max(widths, default=768))
    optimizer = make_optimizer(
        model, settings.optimizer, lr=lr, weight_decay=settings.weight_decay, betas=settings.betas, eps=settings.eps,
        momentum=settings.momentum, precision=precision, factored=settings.factored,
    )  # fmt: skip
    set_rates(optimizer, model, rates_by_layer(model, settings.layer_decay), rates)
    return optimizer


class Thawing:
    """Layers begin to train one after another, from the top (Howard and Ruder 2018, 3.3): a function of how much of the
    run is done, so that nothing has to be remembered."""

    def __init__(self, model: nn.Module, wanted: bool = True, alone: bool = True):
        """E2015 where it is wanted and this process is not alone."""
        if wanted and not alone:
            raise DanluError("E2015")
        found = levels(model)
        self.parameters = [(found[name], each) for name, each in model.named_parameters() if name in found]
        self.steps = len(set(found.values()))
        order = sorted(set(found.values()))
        self.turn = {level: turn for turn, level in enumerate(order)}

    def waits(self, level: int, done: float, share: float) -> bool:
        """Whether a level does not train yet. done: share of the run. share: over which all begin."""
        return done < share * self.turn[level] / max(1, self.steps - 1)

    @contextmanager
    def held(self, done: float, share: float) -> Iterator[None]:
        """While entered, what has to wait wants no gradient."""
        waiting = [parameter for level, parameter in self.parameters if share and self.waits(level, done, share)]
        for parameter in waiting:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in waiting:
                parameter.requires_grad_(True)
