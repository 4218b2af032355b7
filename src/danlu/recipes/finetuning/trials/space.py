"""Which settings a search tries, and what it tries next."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

from danlu.errors import DanluError
from danlu.recipes.finetuning.trials.settings import Choices, Range
from danlu.settings import Data

Space = Mapping[str, Range | Choices]


def usual(settings: Data) -> dict[str, Range | Choices]:
    """Around what would be done without a search: rate, epochs, batch, decay by layer, smoothing of labels."""
    train = settings["train"]
    found: dict[str, Range | Choices] = {"train.lr": Range(low=train["lr"] / 4, high=train["lr"] * 4, log=True)}
    if train.get("epochs"):
        most = max(2, round(train["epochs"] * 2))
        found["train.epochs"] = Range(low=max(1, most // 4), high=most, whole=True)
    found["train.batch"] = tuple(sorted({max(4, train["batch"] // 2), train["batch"], train["batch"] * 2}))
    found["train.layer_decay"] = (1.0, 0.9, 0.8)
    found["loss.smoothing"] = (0.0, 0.1)
    return found


class Chooser:
    """What to try next, from what was tried: Optuna's tree of Parzen estimators (Bergstra et al. 2011), and the rule of
    the median that gives a trial up. A pure function of the seed and of the trials so far, so that a search goes on as
    if it had not been interrupted. E1830 where optuna is not installed."""

    def __init__(self, space: Space, larger_is_better: bool, seed: int, trials: int):
        if find_spec("optuna") is None:
            raise DanluError("E1830")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna, self.space, self.seed = optuna, space, seed
        self.startup = max(3, trials // 4)
        self.sides = {name: _distribution(optuna.distributions, each) for name, each in space.items()}
        self.direction: Literal["minimize", "maximize"] = "maximize" if larger_is_better else "minimize"

    def next(self, number: int, before: Sequence[Data], first: Mapping[str, Any]) -> "Trial":
        """The trial of this number. before: the trials so far, as plain data. first: what trial 0 is."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = self.optuna.samplers.TPESampler(
                seed=self.seed * 100_003 + number, n_startup_trials=self.startup, multivariate=True
            )
        pruner = self.optuna.pruners.MedianPruner(n_startup_trials=self.startup, n_warmup_steps=2)
        study = self.optuna.create_study(direction=self.direction, sampler=sampler, pruner=pruner)
        for each in before:
            study.add_trial(self._frozen(each))
        if number == 0:
            fitting = {name: each for name, each in self.space.items() if name in first and _fits(first[name], each)}
            study.enqueue_trial({name: _coded(first[name], each) for name, each in fitting.items()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = study.ask(dict(self.sides))
        return Trial(trial, self.space)

    def _frozen(self, row: Data) -> Any:
        states = self.optuna.trial.TrialState
        state = {"done": states.COMPLETE, "pruned": states.PRUNED}.get(row["state"], states.FAIL)
        coded = {name: _coded(row["params"][name], each) for name, each in self.space.items()}
        return self.optuna.trial.create_trial(
            params=coded, distributions=dict(self.sides), state=state,
            value=row["value"] if state == states.COMPLETE else None,
            intermediate_values=dict(enumerate(row["looks"])),
        )  # fmt: skip


class Trial:
    """One set of settings being tried."""

    def __init__(self, trial: Any, space: Space):
        self._trial, self.looks = trial, 0
        self.params: Data = {name: _decoded(trial.params[name], each) for name, each in space.items()}

    def report(self, value: float) -> bool:
        """What an evaluation on the way found; whether the trial is to be given up."""
        self._trial.report(value, self.looks)
        self.looks += 1
        return bool(self._trial.should_prune())


def _distribution(kinds: Any, side: Range | Choices) -> Any:
    if not isinstance(side, Range):
        return kinds.CategoricalDistribution([repr(each) for each in side])
    if side.whole:
        return kinds.IntDistribution(int(side.low), int(side.high), log=side.log)
    return kinds.FloatDistribution(side.low, side.high, log=side.log)


def _fits(value: Any, side: Range | Choices) -> bool:
    if isinstance(side, Range):
        return isinstance(value, (int, float)) and side.low <= value <= side.high
    return value in side


def _coded(value: Any, side: Range | Choices) -> Any:
    return value if isinstance(side, Range) else repr(value)


def _decoded(value: Any, side: Range | Choices) -> Any:
    if isinstance(side, Range):
        return int(value) if side.whole else min(max(float(f"{value:.4g}"), side.low), side.high)
    return next(each for each in side if repr(each) == value)
