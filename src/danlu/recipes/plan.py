"""Before anything heavy loads: what a pretraining call means, every setting resolved, every problem found."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from danlu.data.sources import DataSettings, resolved, sources
from danlu.errors import DanluError, Problems, raise_all
from danlu.models.build import memory
from danlu.recipes.call import Call
from danlu.recipes.defaults import Amount, amount, inferred
from danlu.recipes.machine import size_in_words, total_memory
from danlu.recipes.objectives import choose
from danlu.recipes.runs import CONFIG, Run, folder_problems, is_run, new_run, next_free
from danlu.recipes.stages import Pretrain
from danlu.recipes.start import Start, find_device, find_start
from danlu.settings import ALIASES, Data, build, canonical, merge, read_yaml

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """A run that is ready to begin, or to go on."""

    settings: Pretrain
    run: Run
    start: Start
    text: Amount
    given: Data  # what was said rather than inferred


def plan(call: Call, limits: bool = True) -> Plan:
    """Resolve a call. Everything wrong with it is raised together; `limits`: a lack of memory or disk, too."""
    start, *paths = call.words or (None,)
    place = Path(start) if start else None
    if place and is_run(place) and not paths and "data" not in call.settings:
        return _going_on(Run(place), call)
    given = merge(call.settings, {"data": {"paths": paths}}) if paths else call.settings
    source = call.voice.pick("command line", "命令行")
    if place and place.suffix in (".yaml", ".yml"):
        source = str(place)
        written = _ours(read_yaml(place), call)
        if is_run(place.parent) and place.name == CONFIG and "output" not in given:
            given = given | {"output": str(next_free(place.parent).path)}
        given = merge(written, given)
    elif start:
        given = {"start": start} | given
    return _fresh_plan(given, source, limits)


def _ours(written: Data, call: Call) -> Data:
    """A settings file under our names, the others echoed."""
    for name in written.keys() & ALIASES.keys():
        call.voice.say(f"{name} is called {ALIASES[name]} here", f"{name} 在这里称为 {ALIASES[name]}")
    ours, problems = canonical(written)
    raise_all(problems)
    return ours


def _going_on(run: Run, call: Call) -> Plan:
    """The settings of a run that was interrupted. E1621 where the call would change them."""
    settings = build(Pretrain, run.config, where=run.path / CONFIG)
    said = {name: value for name, value in call.settings.items() if name not in ("lang", "output")}
    if said and build(Pretrain, settings.model_dump(mode="json"), said) != settings:
        raise DanluError("E1621", where=run.path, verb="pretrain", found=said)
    text = amount(sources(settings.data.paths, settings.data))
    return Plan(settings, run, _start(settings, text), text, {})


def _fresh_plan(given: Data, source: str, limits: bool) -> Plan:
    problems: list[DanluError] = []

    def attempt(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Problems as several:
            problems.extend(several.problems)
        except DanluError as one:
            problems.append(one)
        return None

    settings = attempt(lambda: build(Pretrain, given, where=source))
    if settings is None:  # what else is wrong can be seen even so
        data = attempt(lambda: build(DataSettings, _group(given, "data"))) if not problems else DataSettings()
        if paths := _group(given, "data").get("paths"):
            attempt(
                lambda: sources(
                    [str(path) for path in (paths if isinstance(paths, list) else [paths])], data or DataSettings()
                )
            )
        if isinstance(word := given.get("start"), str):
            attempt(lambda: find_start(word, None, {}, 0))
        raise_all(problems)
        raise AssertionError("a failed build has problems")
    if not settings.data.paths:
        problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    found = attempt(lambda: sources(settings.data.paths, settings.data))
    if settings.data.validation:
        attempt(lambda: sources(settings.data.validation, settings.data))
    text = amount(found or [])
    start = attempt(lambda: _start(settings, text))
    attempt(lambda: find_device(settings.device))
    run = attempt(
        lambda: new_run(settings.output, settings.start, settings.data.paths[0] if settings.data.paths else "")
    )
    if run:
        problems.extend(folder_problems(run.path))
    if start:
        problems.extend(_impossible(start, settings))
        problems.extend(_limits(start, run) if limits else [])
    raise_all(problems)
    assert start
    assert run
    complete = _complete(settings, start, text, given, source)
    return Plan(complete, _interrupted_twin(run, complete, named=bool(settings.output)), start, text, given)


def _interrupted_twin(run: Run, settings: Pretrain, named: bool) -> Run:
    """The run that the same command began before and did not finish, so that it goes on; else the run itself.

    E1621 where the folder asked for by name holds an interrupted run with other settings.
    """
    if named:
        if run.state == "interrupted" and (found := _other_settings(run, settings)):
            raise DanluError("E1621", where=run.path, verb="pretrain", found=found)
        return run
    first = run.path.with_name(run.path.name.rpartition("-")[0]) if run.number > 1 else run.path
    earlier = (
        Run(first if number == 1 else first.with_name(f"{first.name}-{number}")) for number in range(1, run.number)
    )
    return next((each for each in earlier if each.state == "interrupted" and not _other_settings(each, settings)), run)


def _other_settings(run: Run, settings: Pretrain) -> list[str]:
    """The groups in which a run's settings differ from these; where its file is damaged, that one."""
    try:
        theirs = build(Pretrain, run.config)
    except DanluError:
        return [CONFIG]
    passing = ("output", "lang")
    return [name for name, value in settings if name not in passing and value != getattr(theirs, name)]


def _start(settings: Pretrain, text: Amount) -> Start:
    return find_start(settings.start, settings.size, settings.model, text.bytes, settings.tokenizer.vocabulary)


def _complete(settings: Pretrain, start: Start, text: Amount, given: Data, source: str) -> Pretrain:
    """Every setting that was left open, filled in."""
    chosen = choose(settings.objective, settings.corruption.kind, start.family)
    fixed: Data = {"corruption": chosen.corruption, "objective": dict(chosen.names)}
    if start.where is None:
        fixed |= {"start": start.name, "size": None, "model": chosen.model}
        if settings.tokenizer.kind == "auto" and settings.tokenizer.path is None:
            fixed["tokenizer"] = {"kind": start.family.tokenizer}
    guesses = inferred(start.family, start.size, start.config, text, given, fresh=start.where is None)
    guesses = merge(guesses, {"loss": {"z_weight": start.family.z_weight}})
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    complete = build(Pretrain, settings.model_dump(mode="json"), guesses, given, fixed, where=source)
    data = resolved(complete.data)
    return complete.model_copy(update={"data": data})


def _impossible(start: Start, settings: Pretrain) -> list[DanluError]:
    """What cannot work with this model."""
    problems = []
    try:
        chosen = choose(settings.objective, settings.corruption.kind, start.family)
        if start.where is not None and chosen.model.get("pairs") and not getattr(start.config, "pairs", False):
            problems.append(DanluError("E1506", where=start.where))
    except DanluError as error:
        problems.append(error)
    return problems


def _limits(start: Start, run: Run | None) -> list[DanluError]:
    """What cannot work on this machine."""
    problems = []
    needed, there = memory(start.config, training=True), total_memory()
    if needed > there:
        problems.append(DanluError("E1704", where=start.name, needed=size_in_words(needed), found=size_in_words(there)))
    if run:
        place = run.path
        while not place.exists() and place != place.parent:
            place = place.parent
        free, wanted = shutil.disk_usage(place).free, memory(start.config) * 10  # three checkpoints and a model
        if free < wanted:
            problems.append(
                DanluError("E1701", where=run.path, needed=size_in_words(wanted), found=size_in_words(free))
            )
    return problems


def _group(given: Data, name: str) -> Data:
    group: Any = given.get(name)
    return group if isinstance(group, dict) else {}
