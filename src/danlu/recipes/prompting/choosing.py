"""From rows without labels to a few good prompts, from rows with labels to the one to use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from torch import Tensor

from danlu.errors import DanluError
from danlu.prompt.folds import crossed
from danlu.prompt.rules.brief import Brief
from danlu.prompt.rules.making import bare, known_words, prompts, with_line
from danlu.prompt.rules.ranking import Ranked, ranked
from danlu.prompt.scorer import Scorer
from danlu.prompt.search.carrying import searched
from danlu.prompt.search.drawing import in_order
from danlu.prompt.search.ground import Candidate, Ground, few
from danlu.prompt.search.harness import Found, Halving, Search, Searcher
from danlu.prompt.search.ledger import Ledger
from danlu.prompt.search.ways import SHOWING
from danlu.prompt.search.ways import Kind as Way
from danlu.prompt.spec import PromptSpec, distinct, read_spec
from danlu.recipes.prompting.stage import Prompt
from danlu.tasks.splits import fingerprint, hash_of
from danlu.tasks.task import Row
from danlu.voice import Voice

BEST = 3  # prompts whose calibration and demonstrations are varied


@dataclass(frozen=True)
class Inquiry:
    """A model, rows to find a prompt with, and the ledger of every look at them."""

    settings: Prompt
    scorer: Scorer
    brief: Brief
    training: Sequence[Row]
    validation: Sequence[Row]
    ledger: Ledger
    voice: Voice

    def note(self, part: str, why: str, rows: Sequence[Row], labels: bool) -> None:
        """Into the ledger: which rows are about to be looked at, and whether with their answers."""
        mark = f"{hash_of(' '.join(f'{fingerprint(row):x}' for row in rows)):016x}"
        self.ledger.note(read=part, why=why, rows=len(rows), labels=labels, fingerprint=mark)


def ranking(inquiry: Inquiry) -> tuple[list[Ranked], list[tuple[PromptSpec, DanluError]]]:
    """What rules make, ranked on rows whose labels are not looked at."""
    rules, scorer = inquiry.settings.rules, inquiry.scorer
    rows = Random(f"rank {inquiry.settings.seed}").sample(inquiry.training, min(rules.rows, len(inquiry.training)))
    unlabelled = [
        Row({name: value for name, value in row.values.items() if name != "label"}, row.file, row.line) for row in rows
    ]
    inquiry.note("train", "rank", unlabelled, labels=False)
    made = distinct(known_words(spec, scorer.spelling) for spec in prompts(inquiry.brief, scorer.kind))
    inquiry.voice.say(f"{len(made)} prompts made by rules", f"规则生成 {len(made)} 个提示")
    return ranked(scorer, made, unlabelled, rules.rank)


def own(inquiry: Inquiry) -> PromptSpec | None:
    """The prompt that a person gave, which has to work. E2301 … of its file, E2311 of a line, E2305 for a field that
    rows lack, E2307 for what the model cannot do."""
    settings, scorer = inquiry.settings, inquiry.scorer
    if settings.prompt:
        spec = read_spec(settings.prompt)
    elif settings.template:
        spec = known_words(with_line(inquiry.brief, scorer.kind, settings.template), scorer.spelling)
    else:
        return None
    if not spec.soft:
        scorer.scores(spec, inquiry.training[:1])
    return spec


def chosen(inquiry: Inquiry, hand: PromptSpec, best: Sequence[PromptSpec]) -> Found[Candidate]:
    """The best on the rows to choose by, if more than luck speaks for it; else the hand prompt."""
    rows = list(inquiry.validation)
    Random(f"choose {inquiry.settings.seed}").shuffle(rows)
    rows = rows[: inquiry.settings.limit]
    inquiry.note("validation", "choose", rows, labels=True)
    pool = few(inquiry.training, inquiry.settings.shots, inquiry.settings.seed) if inquiry.settings.shots else []
    if pool:
        inquiry.note("train", "demonstrate", pool, labels=True)
    ground = Ground(inquiry.scorer, hand, rows, pool or inquiry.training, "accuracy", inquiry.settings.seed)
    candidates = [Candidate(spec) for spec in distinct(_candidates(inquiry, [hand, *best], pool))]
    found = _search(inquiry, ground, in_order(candidates, len(candidates)), Candidate(hand), Halving(first=32))
    steps = [found]
    for way in inquiry.settings.search.ways:
        steps.append(_further(inquiry, ground, steps[-1].best, way))
    return _last(inquiry, ground, steps, Candidate(hand)) if len(steps) > 1 else found


def vectors_of(inquiry: Inquiry, best: Candidate) -> dict[str, Tensor] | None:
    """The soft vectors of a prompt that a search found."""
    return Ground(inquiry.scorer, best.spec, (), (), seed=inquiry.settings.seed).vectors(best)


def _last(
    inquiry: Inquiry, ground: Ground, steps: Sequence[Found[Candidate]], hand: Candidate
) -> Found[Candidate]:  # fmt: skip
    """The winner of each step against the prompt that all began from, by the share of rows that are right."""
    bests = [each.best for each in steps]
    winners = [best for at, best in enumerate(bests) if best not in bests[:at]]
    found = _search(inquiry, ground, in_order(winners), hand, Halving(first=0))
    summed = {name: sum(getattr(each, name) for each in steps) for name in ("candidates", "looks", "tokens")}
    return replace(found, **summed)


def _further(inquiry: Inquiry, ground: Ground, begin: Candidate, way: Way) -> Found[Candidate]:
    """A search that begins where the last one ended. Where rows are shown, they are others than those to choose by."""
    settings = inquiry.settings
    rows, pool = ground.rows, ground.pool
    if way in SHOWING:
        known = set(map(id, pool))
        if any(id(row) in known for row in rows):
            rows, pool = rows[::2], rows[1::2]
        inquiry.note("train", way, pool, labels=True)
    here = Ground(ground.scorer, begin.spec, rows, pool, settings.search.aim, ground.seed)
    made = prompts(inquiry.brief, inquiry.scorer.kind)
    about = inquiry.brief.kind
    return searched(here, way, settings.search, inquiry.ledger, inquiry.voice, prompts=made, about=about)


def _search(
    inquiry: Inquiry, ground: Ground, searcher: Searcher[Candidate], hand: Candidate, halving: Halving
) -> Found[Candidate]:
    with inquiry.voice.progress("prompts", "提示", None) as bar:
        search = Search(
            ground.look, len(ground.rows), inquiry.ledger, lambda each: [ground.aim, each.plain()],
            inquiry.settings.search.budget, halving, bar,
        )  # fmt: skip
        return search.run(searcher, hand, inquiry.settings.seed)


def _candidates(inquiry: Inquiry, specs: Sequence[PromptSpec], pool: Sequence[Row]) -> Iterator[PromptSpec]:
    """The prompts as they are; then the first ones with each calibration, and those that gain most by examples."""
    yield from specs
    yield bare(inquiry.brief, inquiry.scorer.kind)
    for spec in specs[:BEST]:
        for calibration in inquiry.settings.calibrate:
            yield spec.but(calibration=calibration)
    if pool:
        yield from (each.spec for each in crossed(inquiry.scorer, specs[:BEST], pool, inquiry.settings.seed)[:BEST])
