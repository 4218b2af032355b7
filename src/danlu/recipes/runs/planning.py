"""What every verb that trains does before anything heavy loads: find out what is meant, and every problem with it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from danlu.errors import DanluError, Problems, raise_all
from danlu.files import nearest_there
from danlu.models.build import ModelConfig, memory
from danlu.recipes.runs.call import Call, Common
from danlu.recipes.runs.folder import CARD, CONFIG, Run, is_run, next_free
from danlu.recipes.runs.machine import size_in_words, total_memory
from danlu.settings import ALIASES, Data, build, canonical, merge, read_yaml

LENGTHS = ("steps", "epochs", "minutes")  # what may change of a run that was begun

T = TypeVar("T")
C = TypeVar("C", bound=Common)


@dataclass(frozen=True)
class Asked:
    """What a call says: a run to go on with, or settings and where they come from."""

    run: Run | None
    given: Data = field(default_factory=dict)
    source: str = ""


def asked(call: Call) -> Asked:
    """The meaning of START DATA ...: a run's folder alone, a settings file, or a start and paths.

    E1005 where there is no start, or a file of data in its place.
    """
    start, *paths = call.words or (None,)
    place = Path(start) if start else None
    written = place is not None and place.suffix in (".yaml", ".yml")
    alone = not paths and not {"data", "tasks"} & call.settings.keys()
    if (start is None and "start" not in call.settings) or (place and place.is_file() and alone and not written):
        raise DanluError("E1005", word="START", found=start, possible=["START", "DATA"])
    if place and is_run(place) and alone:
        return Asked(Run(place))
    given = merge(call.settings, {"data": {"paths": paths}}) if paths else call.settings
    source = call.voice.pick("command line", "命令行")
    if place and written:
        source = str(place)
        if is_run(place.parent) and place.name == CONFIG and "output" not in given:
            given = given | {"output": str(next_free(place.parent).path)}
        given = merge(_ours(read_yaml(place), call), given)
    elif start:
        given = {"start": start} | given
    return Asked(None, given, source)


def _ours(written: Data, call: Call) -> Data:
    """A settings file under our names, the others echoed."""
    for name in written.keys() & ALIASES.keys():
        call.voice.say(f"{name} is called {ALIASES[name]} here", f"{name} 在这里称为 {ALIASES[name]}")
    ours, problems = canonical(written)
    raise_all(problems)
    return ours


def settings_of_run(run: Run, kind: type[C], call: Call) -> C:
    """The settings of a run that was begun. E1621 where the call would change more than make it longer.

    E1622 where it is finished and has kept no checkpoint to go on from.
    """
    settings = build(kind, run.config, where=run.path / CONFIG)
    said = {name: value for name, value in call.settings.items() if name not in ("lang", "output")}
    before = settings.model_dump(mode="json")
    if group(said, "train").keys() & set(LENGTHS):  # one of them takes the place of another
        before = merge(before, {"train": dict.fromkeys(LENGTHS)})
    told = build(kind, before, said, where=call.voice.pick("command line", "命令行")) if said else settings
    done = run.metrics.get("step", 0)
    if lasting(told, LENGTHS) != lasting(settings, LENGTHS) or (group(said, "train").get("steps") or done) < done:
        raise DanluError("E1621", where=run.path, verb=verb_of(settings), found=said)
    if run.state == "finished" and other_settings(run, told) and not list(run.path.glob("checkpoints/step-*")):
        raise DanluError("E1622", where=run.path)
    return told


def lasting(settings: C, passing: Sequence[str] = ()) -> C:
    """Settings without what may change when a run goes on: where, in how many processes, and `passing` of `train`."""
    train: Any = getattr(settings, "train", None)
    changed = {"output": None, "lang": None, "device": "auto"}
    if train is not None:
        changed["train"] = train.model_copy(
            update={"processes": None, "sharded": False, "threads": None, **dict.fromkeys(passing)}
        )
    return settings.model_copy(update=changed)


def take_up(run: Run, settings: Common) -> None:
    """Write down the settings of a run that is to begin or go on; a finished one that is to be longer is unfinished."""
    if run.state == "finished" and not other_settings(run, settings):
        return
    (run.path / CARD).unlink(missing_ok=True)
    run.write_config(settings.model_copy(update={"output": str(run), "lang": None}))


def interrupted_twin(run: Run, settings: Common, named: bool) -> Run:
    """The run that the same command began before and did not finish, so that it goes on; else the run itself.

    E1621 where the folder asked for by name holds an interrupted run with other settings.
    """
    if named:
        if run.state == "interrupted" and (found := other_settings(run, settings)):
            raise DanluError("E1621", where=run.path, verb=verb_of(settings), found=found)
        return run
    first = run.path.with_name(run.path.name.rpartition("-")[0]) if run.number > 1 else run.path
    earlier = (
        Run(first if number == 1 else first.with_name(f"{first.name}-{number}")) for number in range(1, run.number)
    )
    return next((each for each in earlier if each.state == "interrupted" and not other_settings(each, settings)), run)


def other_settings(run: Run, settings: Common) -> list[str]:
    """The groups in which a run's settings differ from these; where its file is damaged, that one."""
    try:
        theirs = build(type(settings), run.config)
    except DanluError:
        return [CONFIG]
    return [name for name, value in lasting(settings) if value != getattr(lasting(theirs), name)]


def verb_of(settings: Common) -> str:
    return str(getattr(settings, "verb", ""))


@dataclass
class Attempts:
    """Work that may fail, so that all problems can be told together."""

    problems: list[DanluError] = field(default_factory=list)

    def __call__(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Problems as several:
            self.problems.extend(several.problems)
        except DanluError as one:
            self.problems.append(one)
        return None

    def end(self) -> NoReturn:
        """Raise what was found."""
        raise_all(self.problems)
        raise AssertionError("an attempt that ends has problems")


def limits(name: str, config: ModelConfig, run: Run | None) -> list[DanluError]:
    """What cannot work on this machine: E1704, E1701."""
    problems = []
    needed, there = memory(config, training=True), total_memory()
    if needed > there:
        problems.append(DanluError("E1704", where=name, needed=size_in_words(needed), found=size_in_words(there)))
    if run:
        free, wanted = (
            shutil.disk_usage(nearest_there(run.path)).free,
            memory(config) * 10,
        )  # three checkpoints and a model
        if free < wanted:
            problems.append(
                DanluError("E1701", where=run.path, needed=size_in_words(wanted), found=size_in_words(free))
            )
    return problems


def group(given: Data, name: str) -> Data:
    """A group of settings, empty where none or something else was given."""
    found: Any = given.get(name)
    return found if isinstance(found, dict) else {}
