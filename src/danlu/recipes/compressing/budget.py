"""A budget: the chain that keeps most of a model's worth within so many bytes, so much time, so little loss.

What each change costs alone is measured first, without any training. From that the worth of every chain is guessed
(what steps lose is added), and the most promising ones are tried for real, the best guess first.
Those that keep size and time and lose too much are healed. Sizes are exact: they follow from shapes.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from danlu.checkpoint import Checkpoint
from danlu.compress.prune import Prune
from danlu.compress.quantize import Quantize
from danlu.errors import DanluError
from danlu.files import remove_folder, replace_json
from danlu.recipes.compressing.chain import Held, Way, carry, told
from danlu.recipes.compressing.measuring import Original, timed
from danlu.recipes.compressing.stage import Compress, Step
from danlu.settings import Data, build
from danlu.train.distill import Distil

FILE = "budget.json"
# What may be done, by part, from mild to strong; the first of each: nothing. In the order of a chain.
CHOICES: Mapping[str, tuple[Data | None, ...]] = {
    "vocabulary": (None, {"kind": "prune", "part": "vocabulary", "share": 0.01}),
    "layers": (None, *({"kind": "prune", "part": "layers", "share": share} for share in (0.34, 0.5))),
    "heads": (None, {"kind": "prune", "part": "heads", "share": 0.34}),
    "units": (None, *({"kind": "prune", "part": "units", "share": share} for share in (0.25, 0.5, 0.75))),
    "quantize": (None, {"short": "int8"}, {"short": "int4"}),
}  # fmt: skip
HEAL: Data = {"kind": "distil", "logits": 0.7, "answers": 0.3, "hidden": 0.0}


@dataclass
class Trial:
    """A chain that was tried: its steps, what came of it, and whether that keeps the budget."""

    names: dict[str, int]
    steps: list[Data]
    healed: bool = False
    size: int = 0
    drop: float = 0.0
    latency: float | None = None
    quality: Data = field(default_factory=dict)
    meets: bool = False

    def missed(self, budget: Compress) -> float:
        """By how much the budget is missed, as a sum of shares; 0: it is kept."""
        parts = (
            (self.size, budget.max_size), (self.latency, budget.max_latency),
            (1 + self.drop, None if budget.max_drop is None else 1 + budget.max_drop),
        )  # fmt: skip
        return sum(max(0.0, value / limit - 1) for value, limit in parts if value is not None and limit is not None)


def search(settings: Compress, held: Held, first: Original, folder: Path, way: Way) -> list[Step]:
    """The steps of the winning chain. Everything that was tried stands in budget.json, and is not tried again. E2411
    where nothing that was tried keeps the budget, with the nearest."""
    book = _Book(settings, held, first, folder, way)
    space = dict(_possible(held))
    alone: dict[tuple[str, int], Trial] = {}
    with way.voice.progress("what each change costs alone", "逐项测量每种改动的代价", None) as bar:
        for name, choices in space.items():
            for level in range(1, len(choices)):
                alone[name, level] = book.tried({name: level}, heal=0.0)
                bar.advance(1)
    nothing = book.tried({}, heal=0.0)
    guesses = sorted(_guesses(space, alone, nothing, settings), key=lambda each: each[0])
    for _, names in guesses[: settings.search.trials]:
        book.tried(names, heal=0.0)
        if book.winner() is not None and settings.search.heal == 0:
            break
    if book.winner() is None and settings.search.heal:
        for trial in book.promising()[: settings.search.healed]:
            book.tried(trial.names, heal=settings.search.heal)
            if book.winner() is not None:
                break
    book.write()
    winner = book.winner()
    if winner is None:
        near = book.nearest()
        raise DanluError("E2411", found=_asked(settings), possible=_told(near), where=folder / FILE)
    return [_step(each) for each in winner.steps]


class _Book:
    """What was tried, kept on the disk."""

    def __init__(self, settings: Compress, held: Held, first: Original, folder: Path, way: Way):
        self.settings, self.held, self.first, self.folder, self.way = settings, held, first, folder, way
        self.trials: list[Trial] = []
        with suppress(OSError, ValueError, KeyError, TypeError):  # nothing was tried, or it cannot be read
            self.trials = [Trial(**row) for row in json.loads((folder / FILE).read_text(encoding="utf8"))["trials"]]

    def tried(self, names: Mapping[str, int], heal: float) -> Trial:
        """One chain, carried out and measured, unless it was before."""
        for trial in self.trials:
            if trial.names == dict(names) and trial.healed == bool(heal):
                return trial
        steps = _steps(names, heal)
        trial = Trial(dict(names), steps, bool(heal))
        self._measure(trial)
        trial.meets = trial.missed(self.settings) == 0
        self.trials.append(trial)
        self.write()
        self._say(trial)
        return trial

    def _measure(self, trial: Trial) -> None:
        """Each trial begins with the model as it was; nothing of it stays but what was measured."""
        name = "-".join(f"{part}{level}" for part, level in trial.names.items()) or "nothing"
        place = self.folder / "trials" / (name + ("-healed" if trial.healed else ""))
        quiet = replace(self.way, voice=self.way.voice.silenced(), brief=True)
        begun = fresh(self.held)
        held, records = carry([_step(each) for each in trial.steps], begun, self.first, place, quiet)
        if records:
            found = records[-1]["measured"]
            trial.size, trial.drop = found["size"]["file"], found["drop"]
            trial.quality = found["quality"]
        else:
            trial.size = _plain_size(self.held.checkpoint)
            trial.quality = self.first.quality.result
        if self.settings.max_latency is not None:
            times = timed({"own": held.checkpoint.model}, held.subject, self.settings.measure)["own"]
            trial.latency = min(each["low"] for each in times)
        if place.is_dir():
            remove_folder(place)

    def winner(self) -> Trial | None:
        """Of those that keep the budget the one that loses least; of equals the smallest."""
        kept = [trial for trial in self.trials if trial.meets]
        return min(kept, key=lambda each: (round(each.drop, 3), each.size), default=None)

    def promising(self) -> list[Trial]:
        """Those that keep size and time and lose too much, the least first."""

        def shape(trial: Trial) -> float:
            return Trial(trial.names, [], size=trial.size, latency=trial.latency, drop=-1.0).missed(self.settings)

        fitting = [trial for trial in self.trials if not trial.healed and trial.steps and shape(trial) == 0]
        return sorted(fitting, key=lambda each: each.drop)

    def nearest(self) -> Trial:
        return min(self.trials, key=lambda each: each.missed(self.settings))

    def frontier(self) -> list[Trial]:
        """Those than which none is both smaller and better."""
        ordered = sorted(self.trials, key=lambda each: (each.size, each.drop))
        kept: list[Trial] = []
        for trial in ordered:
            if not kept or trial.drop < kept[-1].drop:
                kept.append(trial)
        return kept

    def write(self) -> None:
        winner = self.winner()
        front = [trial.names | {"healed": trial.healed} for trial in self.frontier()]
        replace_json(self.folder / FILE, {
            "asked": _limits(self.settings), "trials": [asdict(trial) for trial in self.trials], "frontier": front,
            "winner": None if winner is None else winner.names | {"healed": winner.healed},
        })  # fmt: skip

    def _say(self, trial: Trial) -> None:
        en = f"  {_told(trial)}" + ("  keeps the budget" if trial.meets else "")
        zh = f"  {_told(trial)}" + ("  满足预算" if trial.meets else "")
        self.way.voice.say(en, zh)


def fresh(held: Held) -> Held:
    """The same model read anew, because steps change models in place."""
    where = held.checkpoint.where
    assert where is not None
    checkpoint, teacher = (each.merged() if each.adapted else each for each in map(Checkpoint.load, (where, where)))
    return Held(checkpoint, teacher, held.subject.on(checkpoint))


def _possible(held: Held) -> Iterator[tuple[str, tuple[Data | None, ...]]]:
    """What can be done to this model at all."""
    config: Any = held.checkpoint.config
    for name, choices in CHOICES.items():
        if name == "vocabulary" and (held.checkpoint.tokenizer is None or config.kind == "dual"):
            continue
        yield name, choices


def _guesses(
    space: Mapping[str, Sequence[Data | None]], alone: Mapping[tuple[str, int], Trial], nothing: Trial, budget: Compress
) -> Iterator[tuple[float, dict[str, int]]]:
    """Every chain of two steps or more, and how well it should keep the budget: what it should miss it by, and, of
    those that keep it, what they should lose. Sizes and times are guessed by multiplying shares, losses by adding."""
    for levels in itertools.product(*(range(len(choices)) for choices in space.values())):
        names = {name: level for name, level in zip(space, levels, strict=True) if level}
        if len(names) < 2:
            continue
        parts = [alone[each] for each in names.items()]
        guess = Trial(names, [], size=nothing.size, drop=sum(max(0.0, each.drop) for each in parts))
        for each in parts:
            guess.size = round(guess.size * each.size / max(1, nothing.size))
            if each.latency is not None and nothing.latency:
                guess.latency = (guess.latency or nothing.latency) * each.latency / nothing.latency
        shape = Trial(names, [], size=guess.size, latency=guess.latency, drop=-1.0).missed(budget)
        yield 100 * max(0.0, shape - 0.05) + guess.drop + shape, names


def _steps(names: Mapping[str, int], heal: float) -> list[Data]:
    """The chain of chosen levels, in the order of CHOICES; healing comes before codes."""
    steps: list[Data] = []
    for name, choices in CHOICES.items():
        if name == "quantize" and heal and steps:
            steps.append(HEAL | {"train": {"epochs": heal}})
        choice = choices[names.get(name, 0)]
        if choice is not None:
            steps.append({"kind": "quantize"} | Quantize.short(choice["short"]) if "short" in choice else dict(choice))
    return steps


def _step(data: Data) -> Step:
    kinds: dict[str, Any] = {"prune": Prune, "distil": Distil, "quantize": Quantize}
    found: Step = build(kinds[data["kind"]], data)
    return found


def _plain_size(checkpoint: Checkpoint) -> int:
    assert checkpoint.where is not None
    return sum(path.stat().st_size for path in checkpoint.where.glob("*.safetensors") if "golden" not in path.name)


def _limits(settings: Compress) -> Data:
    return {name: getattr(settings, name) for name in ("max_size", "max_drop", "max_latency")}


def _asked(settings: Compress) -> str:
    words = {"max_size": "{:,} B", "max_drop": "{:.2%}", "max_latency": "{:.3g} s"}
    return ", ".join(
        f"{name}={words[name].format(value)}" for name, value in _limits(settings).items() if value is not None
    )


def _told(trial: Trial) -> str:
    """A trial in one line."""
    steps = " → ".join(told(_step(each)) for each in trial.steps) or "—"
    time = "" if trial.latency is None else f", {1e3 * trial.latency:.2f} ms"
    return f"{steps}: {trial.size / 1e6:.2f} MB{time}, {trial.drop:+.2%}"
