"""One way of searching carried out with its settings: what the verbs call."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from danlu.checkpoint import Checkpoint
from danlu.prompt.search.asking import Endpoint, Propose, endpoint
from danlu.prompt.search.ground import Aim, Candidate, Ground, few
from danlu.prompt.search.harness import Budget, Found, Halving, Search, Searcher
from danlu.prompt.search.ledger import Ledger, key_of
from danlu.prompt.search.ways import WAYS, WHOLE, Kind, Means, MutatorName
from danlu.prompt.spec import PromptSpec
from danlu.settings import Settings
from danlu.voice import Voice

POOL = 32  # rows of each class that a search learns from, or shows some of


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _short(value: Any) -> Any:
    """`search=words,edits` names ways alone."""
    return {"ways": value} if isinstance(value, (str, list, tuple)) else value


class SearchSettings(Settings):
    """ways: one after the other, each from where the last one ended. aim: what a row is worth to a prompt. budget,
    halving: of each way. options: words that may stand for a class, or in a word's place. shown: demonstrations of each
    class. vectors: soft vectors, or trigger words. numbers: that soft vectors are moved by. mutator: who says what may
    stand in a word's place: rules (words like it), or the model, by what it would write there. writer: an
    encoder–decoder that fills templates in. ask: a model behind an address that proposes prompts."""

    ways: Annotated[tuple[Kind, ...], BeforeValidator(_split)] = ()
    aim: Aim = "likelihood"
    budget: Budget = Budget()
    halving: Halving = Halving()
    options: int = Field(8, ge=2)
    shown: int = Field(1, ge=1)
    vectors: int = Field(5, ge=1, le=256)
    numbers: int = Field(20, ge=1)
    mutator: MutatorName = "rules"
    writer: str | None = None
    ask: Endpoint | None = None


Searched = Annotated[SearchSettings, BeforeValidator(_short)]  # as people write it


def searched(
    ground: Ground, way: Kind, settings: SearchSettings, ledger: Ledger, voice: Voice, *,
    prompts: Sequence[PromptSpec] = (), about: str = "", propose: Propose | None = None,
) -> Found[Candidate]:  # fmt: skip
    """Search from the ground's hand prompt; of its pool, some rows of each class are enough.

    prompts: a list to try, for `rules`. about: the task, for who is asked. propose: a function of your own to ask, in
    the place of an address.
    """
    ground = replace(ground, pool=few(ground.pool, POOL, ground.seed))
    rows = key_of([sorted((name, str(value)) for name, value in row.values.items()) for row in ground.rows])
    halving = settings.halving.model_copy(update={"first": 0}) if way in WHOLE else settings.halving
    with voice.progress(f"search: {way}", f"搜索：{way}", settings.budget.tokens) as bar:
        search = Search(
            ground.look,
            len(ground.rows),
            ledger,
            lambda each: [ground.aim, rows, each.plain()],
            settings.budget,
            halving,
            bar,
        )
        means = Means(
            search.answer, settings.options, settings.shown, settings.vectors, settings.numbers,
            settings.mutator,
            Checkpoint.load(settings.writer) if settings.writer else None,
            propose or (endpoint(settings.ask, about) if settings.ask else None), prompts,
        )  # fmt: skip
        found = search.run(_begun(ground, way, means), Candidate(ground.hand), ground.seed)
    ledger.note(way=way, winner=key_of(found.best.plain()), value=found.value)
    return found


def _begun(ground: Ground, way: Kind, means: Means) -> Searcher[Candidate]:
    """A way that begins when it is asked for its first candidates: what it asks models before counts for the budget."""
    yield from WAYS[way](ground, means)
