"""Before anything is decoded: what a call about pictures means, every setting resolved, every problem found."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

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
from danlu.recipes.starting.start import Start, TokenizerChoice, find_device, find_start
from danlu.settings import Data, build, read_yaml
from danlu.voice import Voice

SEEING = "multimodal"
CAPTION_BYTES = 40  # of a usual caption, to guess a vocabulary by


class Looking(Protocol):
    """What the settings of a verb that trains on pictures have in common."""

    start: str
    size: str | None
    model: dict[str, Any]
    data: PictureSettings
    tokenizer: TokenizerChoice
    output: str | None
    device: str


S = TypeVar("S", bound=Any)  # Looking and Settings; there is no way to say both


@dataclass(frozen=True)
class Plan(Generic[S]):
    """A run that is ready to begin, or to go on."""

    settings: S
    run: Run
    start: Start
    gathered: Gathered


@dataclass(frozen=True)
class Planner(Generic[S]):
    """How one kind of training on pictures is planned.

    asks: questions are looked for, too. complete: the settings with everything filled in that was left open, from the
    start, what was gathered, what was given, and where that was said.
    """

    kind: type[S]
    complete: Callable[[S, Start, Gathered, Data, str], S]
    asks: bool = False

    def __call__(self, call: Call) -> Plan[S]:
        """Resolve a call. Everything wrong with it is raised together."""
        meant = asked(call)
        if meant.run is None:
            return self._fresh(meant.given, meant.source, call.voice)
        settings = settings_of_run(meant.run, self.kind, call)
        return Plan(settings, meant.run, _start(settings, 0), gather(settings.data, call.voice, self.asks))

    def _fresh(self, given: Data, source: str, voice: Voice) -> Plan[S]:
        attempt = Attempts()
        settings = attempt(lambda: build(self.kind, given, where=source))
        if settings is None:
            raise_all(attempt.problems)
            raise AssertionError("a failed build has problems")
        if not settings.data.paths:
            attempt.problems.append(DanluError("E1005", word="DATA", possible=["START", "DATA"]))
        first = settings.data.paths[0] if settings.data.paths else ""
        data, known = settings.data, settings
        data = attempt(lambda: _resolved(known.data)) or data
        settings = known.model_copy(update={"data": data})
        gathered = attempt(lambda: gather(data, voice, self.asks)) if not attempt.problems else None
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
        complete = self.complete(settings, start, gathered, given, source)
        return Plan(complete, interrupted_twin(run, complete, named=bool(settings.output)), start, gathered)


def kind_of_start(call: Call) -> str | None:
    """The kind of model that a call is about: that of its START; one that sees, where START is given a tower. Whatever
    is wrong with it is told later."""
    word = call.words[0] if call.words else call.settings.get("start")
    if not isinstance(word, str):
        return None
    place, said = Path(word), call.settings
    try:
        if is_run(place) and len(call.words) == 1:
            said = Run(place).config
            word = str(said.get("start", ""))
        elif place.suffix in (".yaml", ".yml"):
            said = read_yaml(place) | call.settings
            word = str(said.get("start", ""))
        if said.get("tower"):
            return SEEING
        named = None if Path(word).exists() else split_name(word)
        family = named[0] if named else Checkpoint.peek(word)[0]
    except DanluError:
        return None
    return family.kind


def _resolved(data: PictureSettings) -> PictureSettings:
    """The same settings with built-in pictures turned into files in the cache."""
    named = {
        name: tuple(str(picture_file(path, data.cache_folder)) for path in getattr(data, name))
        for name in ("paths", "validation")
    }
    return data.model_copy(update=named)


def _start(settings: Looking, pictures: int) -> Start:
    size = CAPTION_BYTES * max(1000, pictures)
    own = {} if getattr(settings, "tower", None) else settings.model  # what is said of a tower is not of the trunk
    return find_start(settings.start, settings.size, own, size, settings.tokenizer.vocabulary)


def filled(settings: S, start: Start, guesses: Data, given: Data, fixed: Data, source: str) -> S:
    """The settings with guesses for what was not given, and with what a fresh start is called and reads."""
    if start.where is None:
        fixed = fixed | {"start": start.name, "size": None}
        if settings.tokenizer.kind == "auto" and settings.tokenizer.path is None:
            fixed["tokenizer"] = {"kind": start.family.tokenizer}
    given = {name: value for name, value in given.items() if name not in ("start", "size", "output", "lang")}
    complete: S = build(type(settings), settings.model_dump(mode="json"), guesses, given, fixed, where=source)
    data = {name: getattr(settings.data, name) for name in ("paths", "validation")}
    whole: S = complete.model_copy(update={"data": complete.data.model_copy(update=data)})
    return whole


def _complete(
    settings: PretrainPictures, start: Start, gathered: Gathered, given: Data, source: str
) -> PretrainPictures:
    guesses = defaults(
        start.family.name, start.size, start.config, len(gathered.training), given, start.where is None
    )  # fmt: skip
    return filled(settings, start, guesses, given, {"objective": settings.objective or start.family.objective}, source)


plan: Planner[PretrainPictures] = Planner(PretrainPictures, _complete)
