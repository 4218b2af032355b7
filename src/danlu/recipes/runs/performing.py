"""What a verb that trains does with a plan: in one process or in several, from the first sentence to the last."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from danlu.errors import DanluError
from danlu.recipes.runs.call import Answer, Call, Common, Stopped
from danlu.recipes.runs.folder import Run, is_run
from danlu.recipes.runs.launching import launch, wanted
from danlu.recipes.runs.planning import take_up
from danlu.recipes.runs.processes import joined
from danlu.train.distributed import World
from danlu.train.memory import hold_memory
from danlu.voice import Voice


class Planned(Protocol):
    """A run that is ready to begin, or to go on."""

    @property
    def settings(self) -> Common: ...

    @property
    def run(self) -> Run: ...


P = TypeVar("P", bound=Planned)


def perform(
    call: Call, verb: str, plan: Callable[[Call], P], introduce: Callable[[P, Voice], None],
    carry_out: Callable[[P, Voice, World], object], further: tuple[str, str] = ("", ""),
) -> Answer:  # fmt: skip
    """Plan and carry out a run. The first of several processes plans and writes; the others take what it has begun.

    introduce: says what was inferred. further: what to do next with `{run}`, in both languages.
    """
    hold_memory()  # before there are threads, each of which would get an arena of its own
    with joined(call) as world:
        voice = call.voice if world.leads else call.voice.silenced()
        call = replace(call, voice=voice)
        ready, fresh = _planned(call, plan, world)
        if call.dry_run:
            introduce(ready, voice)
            return call.rehearse(ready.settings) if world.leads else Answer()
        run, next_en, next_zh = ready.run, *(text.format(run=ready.run) for text in further)
        if run.state == "finished":
            voice.say(f"{run} is finished; nothing to do\n{next_en}", f"{run} 已完成，无需再做\n{next_zh}")
            return Answer(run.path, run.metrics, run.files())
        count = wanted(ready.settings) if world.alone else 1
        try:
            if count > 1:
                launch(verb, run, count, voice)
                return Answer(run.path, run.metrics, run.files())
            introduce(ready, voice)
            carry_out(ready, voice, world)
        except KeyboardInterrupt:
            raise Stopped(f"danlu {verb} {run}") from None
        except DanluError:
            if fresh and world.leads:
                run.abandon()
            raise
        voice.say(
            f"done: {run}  (report: {run.path / 'report.html'})\n{next_en}",
            f"完成：{run}（报告：{run.path / 'report.html'}）\n{next_zh}",
        )
        return Answer(run.path, run.metrics, run.files())


def _planned(call: Call, plan: Callable[[Call], P], world: World) -> tuple[P, bool]:
    """A plan, and whether its run is fresh; its settings are written. E2109 where a process does not see them."""
    mine: list[tuple[P, bool]] = []

    def begin() -> str:
        ready = plan(call)
        state = ready.run.state
        mine.append((ready, state == "empty"))
        if not call.dry_run and (state == "empty" or call.settings.get("train")):
            take_up(ready.run, ready.settings)
        return str(ready.run)

    folder = Path(world.led(begin))
    if mine or call.dry_run:
        return mine[0] if mine else (plan(call), False)

    def look() -> None:
        if not is_run(folder):
            raise DanluError("E2109", where=folder, rank=world.rank)

    look()
    return plan(replace(call, words=(str(folder),), settings={})), False
