"""The rungs of the ladder: ways to make a model answer, from one that costs nothing to one that costs all."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from danlu.adapt import Addition, Lora, Part
from danlu.adapt.changes import Full, Top
from danlu.evaluate.judge import measured
from danlu.evaluate.predictions import FILE, Prediction, read_predictions, write_predictions
from danlu.files import replace_json
from danlu.prompt.prompter import Prompter
from danlu.prompt.rules.making import bare
from danlu.prompt.search.ground import Ground
from danlu.prompt.spec import PromptSpec, read_spec
from danlu.prompt.tuning import VECTORS, write_vectors
from danlu.recipes.prompting.choosing import chosen, own, ranking
from danlu.recipes.prompting.stage import split
from danlu.recipes.prompting.tuning import Course, Tuning, kept_bytes, taught
from danlu.recipes.runs.folder import PROMPT
from danlu.settings import Data
from danlu.tasks.metrics import METRICS, Metric
from danlu.voice import Voice

RungName = Literal["hand", "rules", "searched", "soft", "lora", "partial", "full"]
METRIC: Metric = METRICS["accuracy"]
RESULT = "result.json"


class Ladder(Tuning):
    """`danlu prompt ladder START DATA`: each rung is tried with the same rows to learn from, to choose by and to be
    measured on.

    rungs: which. layers: blocks that train where a part of the model does. rank: of LoRA. search: of the searched rung.
    """

    defaults: ClassVar[Data] = Tuning.defaults | {"search": {"ways": ["edits"]}}
    verb: str = Field("prompt ladder", pattern="^prompt ladder$")
    rungs: Annotated[tuple[RungName, ...], BeforeValidator(split), Field(min_length=1)] = (
        "hand", "rules", "searched", "soft", "lora", "partial", "full",
    )  # fmt: skip
    layers: int = Field(2, ge=1)
    rank: int = Field(8, ge=1)


class Reached(NamedTuple):
    """What a rung came to. trains: numbers trained; bytes: of what is kept beside the model; tokens: read by searching,
    where that was counted."""

    prompter: Prompter
    trains: int
    bytes: int
    seconds: float
    tokens: int = 0


Reach = Callable[[Course, Voice], Reached]


def by_hand(course: Course, voice: Voice) -> Reached:
    """The prompt that was given, or the names of the labels alone."""
    spec = own(course.inquiry) or bare(course.inquiry.brief, course.inquiry.scorer.kind)
    return _left(course, "hand", spec, time.monotonic())


def by_rules(course: Course, voice: Voice) -> Reached:
    """The first that rules make, as it is ranked without labels."""
    began = time.monotonic()
    return _left(course, "rules", ranking(course.inquiry)[0][0].spec, began)


def by_search(course: Course, voice: Voice) -> Reached:
    """The best of the rules' prompts and of a search, by rows with labels."""
    began, inquiry = time.monotonic(), course.inquiry
    listed = ranking(inquiry)[0]
    found = chosen(
        inquiry, prompt_below(course, "searched"), [each.spec for each in listed[: settings_of(course).rules.keep]]
    )
    vectors = Ground(inquiry.scorer, found.best.spec, [], [], seed=settings_of(course).seed).vectors(found.best)
    return _left(course, "searched", found.best.spec, began, vectors, found.tokens)


def by_training(name: RungName, change: Callable[[Ladder], Part | Addition | None]) -> Reach:
    """Trained by the prompt of the rung below; the best evaluation on the rows to choose by stays."""

    def reach(course: Course, voice: Voice) -> Reached:
        settings, spec = settings_of(course), prompt_below(course, name)
        course.inquiry.note("train", "train", course.training, labels=True)
        tuned = taught(
            settings, change(settings), spec, course.training, course.validation, at(course, name), voice, course.advice
        )
        return Reached(tuned.prompter, tuned.trains, tuned.bytes, tuned.seconds)

    return reach


# The cheapest first.
RUNGS: Mapping[RungName, Reach] = {
    "hand": by_hand,
    "rules": by_rules,
    "searched": by_search,
    "soft": by_training("soft", lambda settings: None),
    "lora": by_training("lora", lambda settings: Lora(rank=settings.rank)),
    "partial": by_training("partial", lambda settings: Top(layers=settings.layers)),
    "full": by_training("full", lambda settings: Full()),
}


def height(name: str) -> int:
    """A rung's place, the cheapest at 0."""
    return [str(each) for each in RUNGS].index(name)


def at(course: Course, name: str) -> Path:
    return course.folder / "rungs" / name


def settings_of(course: Course) -> Ladder:
    settings = course.inquiry.settings
    assert isinstance(settings, Ladder)
    return settings


def prompt_below(course: Course, name: RungName) -> PromptSpec:
    """The prompt of the nearest rung below that left one without vectors of its own."""
    for each in ("searched", "rules", "hand"):
        folder = at(course, each)
        if height(each) < height(name) and (folder / PROMPT).is_file() and not (folder / VECTORS).is_file():
            return read_spec(folder / PROMPT)
    return own(course.inquiry) or bare(course.inquiry.brief, course.inquiry.scorer.kind)


def reached(course: Course, name: RungName, voice: Voice) -> Data:
    """The rung's row, from its folder where it was reached before."""
    folder = at(course, name)
    try:
        done: Data = json.loads((folder / RESULT).read_text(encoding="utf8"))
        return done
    except (OSError, ValueError):
        folder.mkdir(parents=True, exist_ok=True)
    found = RUNGS[name](course, voice)
    course.inquiry.note("final", f"measure {name}", course.final, labels=True)
    said = list(found.prompter.predict(course.final, voice.silenced()))
    write_predictions(folder / FILE, said)
    (value,) = measured([METRIC], said, settings_of(course).seed)
    row = {"rung": name, **value, "trains": found.trains, "bytes": found.bytes, "seconds": round(found.seconds, 1),
           "tokens": found.tokens, "prompt": found.prompter.spec.lines[:4],
           "made_by": list(found.prompter.spec.made_by)}  # fmt: skip
    replace_json(folder / RESULT, row)
    return row


def answers(course: Course, name: str) -> list[Prediction]:
    return read_predictions(at(course, name) / FILE)


def _left(
    course: Course, name: RungName, spec: PromptSpec, began: float, vectors: Mapping[str, Any] | None = None,
    tokens: int = 0,
) -> Reached:  # fmt: skip
    """A prompt in its rung's folder."""
    folder = at(course, name)
    spec.write(folder / PROMPT)
    if vectors:
        write_vectors(folder / VECTORS, vectors)
    prompter = Prompter(course.inquiry.scorer, spec, vectors)
    return Reached(prompter, 0, kept_bytes(folder), time.monotonic() - began, tokens)
