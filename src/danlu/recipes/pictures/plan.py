"""Before anything is decoded: what a call about pictures means, every setting resolved, every problem found."""

from dataclasses import dataclass
from pathlib import Path

from danlu.checkpoint import Checkpoint
from danlu.data.pictures.pairs import picture_file
from danlu.data.pictures.prepare import Gathered, gather
from danlu.data.pictures.settings import PictureSettings
from danlu.errors import DanluError, raise_all
from danlu.models.families import split_name
from danlu.recipes.pictures.stage import PretrainPictures, defaults
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run, folder_problems, is_run, new_run
from danlu.recipes.runs.planning import Attempts, asked, interrupted_twin, limits, settings_of_run
from danlu.recipes.starting.start import Start, find_device, find_start
from danlu.settings import Data, build, read_yaml
from danlu.voice import Voice

CAPTION_BYTES = 40  # of a usual caption, to guess a vocabulary by


@dataclass(frozen=True)
class Plan:
    """A run that is ready to begin, or to go on."""

    settings: PretrainPictures
    run: Run
    start: Start
    gathered: Gathered


def sees_pictures(call: Call) -> bool:
    """Whether the START of a call is a model of pictures and texts. Whatever is wrong with it is told later."""
    word = call.words[0] if call.words else call.settings.get("start")
    if not isinstance(word, str):
        return False
    place = Path(word)
    try:
        if is_run(place) and len(call.words) == 1:
            word = str(Run(place).config.get("start", ""))
        elif place.suffix in (".yaml", ".yml"):
            word = str(call.settings.get("start") or read_yaml(place).get("start", ""))
        named = None if Path(word).exists() else split_name(word)
        family = named[0] if named else Checkpoint.peek(word)[0]
    except DanluError:
        return False
    return family.kind == "dual"


def plan(call: Call) -> Plan:
    """Resolve a call. Everything wrong with it is raised together."""
    meant = asked(call)
    if meant.run is None:
        return _fresh_plan(meant.given, meant.source, call.voice)
    settings = settings_of_run(meant.run, PretrainPictures, call)
    return Plan(settings, meant.run, _start(settings, 0), gather(settings.data, call.voice))


def _fresh_plan(given: Data, source: str, voice: Voice) -> Plan:
    attempt = Attempts()
    settings = attempt(lambda: build(PretrainPictures, given, where=source))
    if settings is None:
        raise_all(attempt.problems)
        raise AssertionError("a failed build has problems")
    if not settings.data.paths:
        attempt.problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
    first = settings.data.paths[0] if settings.data.paths else ""
    data, known = settings.data, settings
    data = attempt(lambda: _resolved(known.data)) or data
    settings = known.model_copy(update={"data": data})
    gathered = attempt(lambda: gather(data, voice)) if not attempt.problems else None
    start = attempt(lambda: _start(known, len(gathered.training) if gathered else 0))
    attempt(lambda: find_device(known.device))
    run = attempt(lambda: new_run(known.output, known.start, first))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    if start:
        attempt.problems.extend(limits(start.name, start.config, run))
    raise_all(attempt.problems)
    assert start
    assert run
    assert gathered
    complete = _complete(settings, start, len(gathered.training), given, source)
    return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, gathered)


def _resolved(data: PictureSettings) -> PictureSettings:
    """The same settings with built-in pictures turned into files in the cache."""
    named = {
        name: tuple(str(picture_file(path, data.cache_folder)) for path in getattr(data, name))
        for name in ("paths", "validation")
    }
    return data.model_copy(update=named)


def _start(settings: PretrainPictures, pictures: int) -> Start:
    size = CAPTION_BYTES * max(1000, pictures)
    return find_start(settings.start, settings.size, settings.model, size, settings.tokenizer.vocabulary)


def _complete(settings: PretrainPictures, start: Start, pictures: int, given: Data, source: str) -> PretrainPictures:
    """Every setting that was left open, filled in."""
    fixed: Data = {"objective": settings.objective or start.family.objective}
    if start.where is None:
        fixed |= {"start": start.name, "size": None}
        if settings.tokenizer.kind == "auto" and settings.tokenizer.path is None:
            fixed["tokenizer"] = {"kind": start.family.tokenizer}
    guesses = defaults(start.family.name, start.size, start.config, pictures, given, start.where is None)
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    complete = build(PretrainPictures, settings.model_dump(mode="json"), guesses, given, fixed, where=source)
    data = {name: getattr(settings.data, name) for name in ("paths", "validation")}
    return complete.model_copy(update={"data": complete.data.model_copy(update=data)})
