"""Before anything heavy loads: what a pretraining call means, every setting resolved, every problem found."""

from dataclasses import dataclass

from danlu.data.division import weights_of
from danlu.data.sources import DataSettings, all_files, resolved, sources
from danlu.errors import DanluError, raise_all
from danlu.recipes.pretraining.defaults import Amount, amount, inferred
from danlu.recipes.pretraining.objectives import choose
from danlu.recipes.pretraining.presets import Preset, find_preset
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run, folder_problems, new_run
from danlu.recipes.runs.planning import Attempts, asked, group, interrupted_twin, limits, settings_of_run
from danlu.recipes.starting.adapting import foreseen
from danlu.recipes.starting.start import Start, find_device, find_start, tells_languages
from danlu.settings import Data, build, merge

FILES = ("paths", "sources", "parallel", "validation", "decontaminate")  # settings that name some


@dataclass(frozen=True)
class Plan:
    """A run that is ready to begin, or to go on."""

    settings: Pretrain
    run: Run
    start: Start
    text: Amount
    given: Data  # what was said rather than inferred


def plan(call: Call, limited: bool = True) -> Plan:
    """Resolve a call. Everything wrong with it is raised together; `limited`: a lack of memory or disk, too."""
    meant = asked(call)
    if meant.run is None:
        return _fresh_plan(meant.given, meant.source, limited)
    settings = settings_of_run(meant.run, Pretrain, call)
    text = amount(all_files(settings.data))
    return Plan(settings, meant.run, _start(settings, text), text, {})


def _fresh_plan(given: Data, source: str, limited: bool) -> Plan:
    attempt = Attempts()
    problems = attempt.problems
    given, preset = attempt(lambda: with_recipe(given)) or (given, None)
    settings = attempt(lambda: build(Pretrain, given, where=source))
    if settings is None:  # what else is wrong can be seen even so
        data = attempt(lambda: build(DataSettings, group(given, "data"))) if not problems else DataSettings()
        if paths := group(given, "data").get("paths"):
            attempt(
                lambda: sources(
                    [str(path) for path in (paths if isinstance(paths, list) else [paths])], data or DataSettings()
                )
            )
        if isinstance(word := given.get("start"), str):
            attempt(lambda: find_start(word, None, {}, 0))
        raise_all(problems)
        raise AssertionError("a failed build has problems")
    given_data = settings.data
    settings = with_languages(settings.model_copy(update={"data": attempt(lambda: resolved(given_data)) or given_data}))
    if not settings.data.any:
        problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    found = attempt(lambda: all_files(settings.data))
    attempt(lambda: sources((*settings.data.validation, *settings.data.decontaminate), settings.data))
    attempt(lambda: weights_of(settings.data))
    text = amount(found or [])
    start = attempt(lambda: _start(settings, text))
    attempt(lambda: find_device(settings.device))
    run = attempt(lambda: new_run(settings.output, settings.start, _first(given, settings.data)))
    if run:
        problems.extend(folder_problems(run.path))
    if start:
        problems.extend(_impossible(start, settings))
        problems.extend(limits(start.name, start.config, run) if limited else [])
    raise_all(problems)
    assert start
    assert run
    complete = _complete(settings, start, text, given, source, preset)
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, text, given)


def with_languages(settings: Pretrain) -> Pretrain:
    """Where a fresh model tells languages apart: those of the data, a source being in the one it is named for."""
    if not tells_languages(settings.start):
        return settings
    data = settings.data
    told = {
        name: each if each.language or each.parallel else each.model_copy(update={"language": name})
        for name, each in data.sources.items()
    }
    data = data.model_copy(update={"sources": told})
    known = settings.model.get("languages") or data.languages
    return settings.model_copy(update={"data": data, "model": settings.model | {"languages": list(known)}})


def _first(given: Data, data: DataSettings) -> str:
    """What a run's folder is named for beside its start: the first path as it was given, or the sources."""
    paths = group(given, "data").get("paths")
    first = paths[0] if isinstance(paths, list) and paths else paths if isinstance(paths, str) else None
    return str(first) if first else "-".join(data.sources or data.parallel)


def _start(settings: Pretrain, text: Amount) -> Start:
    """With the heads that the objectives ask a fresh model for."""

    def found(changes: Data) -> Start:
        return find_start(settings.start, settings.size, changes, text.bytes, settings.tokenizer.vocabulary)

    start = found(settings.model)
    try:
        needed = choose(settings.objective, settings.corruption.kind, start.family).model
    except DanluError:
        return start  # told as something impossible
    return found(settings.model | needed) if needed and start.where is None else start


def with_recipe(given: Data) -> tuple[Data, Preset | None]:
    """What was given, over the recipe it names. E1508 where none of that name trains the model."""
    name, word = given.get("recipe"), given.get("start")
    if not isinstance(name, str) or not isinstance(word, str):
        return given, None
    try:
        start = find_start(word, None, {}, 0)
    except DanluError:
        return given, None  # told when the start is looked for in earnest
    name, preset = find_preset(name, start.family)
    return preset.under(given, start.where is None) | {"recipe": name}, preset


def _complete(
    settings: Pretrain, start: Start, text: Amount, given: Data, source: str, preset: Preset | None
) -> Pretrain:
    """Every setting that was left open, filled in."""
    chosen = choose(settings.objective, settings.corruption.kind, start.family)
    fixed: Data = {"corruption": chosen.corruption, "objective": dict(chosen.names)}
    if start.where is None:
        fixed |= {"start": start.name, "size": None, "model": merge(settings.model, chosen.model)}
        if settings.tokenizer.kind == "auto" and settings.tokenizer.path is None:
            fixed["tokenizer"] = {"kind": start.family.tokenizer}
    guesses = inferred(start.family, start.size, start.config, text, given, start.where is None, preset)
    guesses = merge(guesses, {"loss": {"z_weight": start.family.z_weight}})
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    complete = build(Pretrain, settings.model_dump(mode="json"), guesses, given, fixed, where=source)
    files = {name: getattr(settings.data, name) for name in FILES}
    return complete.model_copy(update={"data": complete.data.model_copy(update=files)})


def _impossible(start: Start, settings: Pretrain) -> list[DanluError]:
    """What cannot work with this model."""
    problems = []
    try:
        chosen = choose(settings.objective, settings.corruption.kind, start.family)
        if start.where is not None and chosen.model.get("pairs") and not getattr(start.config, "pairs", False):
            problems.append(DanluError("E1506", where=start.where))
        if settings.adapt is not None:
            foreseen(start.config, settings.adapt)
    except DanluError as error:
        problems.append(error)
    embedding, length = getattr(start.config, "embedding", None), settings.data.length
    table = embedding.positions if embedding else None
    if table and length and length > table.length:
        problems.append(DanluError("E1510", where=start.name, found=length, possible=f"≤ {table.length}"))
    return problems
