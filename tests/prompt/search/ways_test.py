"""Each way of searching on real, tiny models: what it changes of a prompt, that it is repeatable, that it goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from danlu.errors import DanluError
from danlu.models.weights import Loaded
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.prompt.search.carrying import SearchSettings
from danlu.prompt.search.carrying import searched as searched_by
from danlu.prompt.search.ground import FLOOR, Candidate, Ground, few
from danlu.prompt.search.harness import Budget, Found, Halving, Search
from danlu.prompt.search.ledger import Ledger
from danlu.prompt.search.pieces import cut, holes
from danlu.prompt.search.ways import SHOWING, WAYS, WHOLE, Kind, Means
from danlu.prompt.spec import PromptSpec
from danlu.tasks.task import Row
from danlu.voice import Voice

ScorerOf = Callable[[str], Scorer]
TEXTS = {"good": ["wonderful film", "great fun", "the cast was great", "a good story"],
         "bad": ["boring film", "terrible plot", "the cast was dull", "a bad story"]}  # fmt: skip
ROWS = [Row({"text": text, "label": label}) for label, texts in TEXTS.items() for text in texts]
VERBALISER = {"words": {"good": ["great"], "bad": ["terrible"]}}
LINES = {"bert": "{text} It was a {mask} film.", "gpt2": "Review: {text} It was {mask}", "t5": "{text} It was {mask}.",
         }  # fmt: skip
FAMILY: dict[str, str] = dict.fromkeys(WAYS, "bert") | {"policy": "gpt2", "edits": "gpt2", "soft": "t5", "fill": "t5"}


def ground(scorer: Scorer, family: str, kind: str) -> Ground:
    hand = PromptSpec(templates=LINES[family], verbaliser=VERBALISER)
    if kind == "words":  # words that the tiny vocabulary knows something like
        hand = hand.but(verbaliser={"words": {"good": ["good"], "bad": ["bad"]}})
    rows = few(ROWS, 4)
    return Ground(scorer, hand, rows[:4] if kind in SHOWING else rows, rows[4:] if kind in SHOWING else rows)


def searched(where: Ground, kind: Kind, path: Path, looks: int = 14) -> Found[Candidate]:
    def propose(held: object, count: int) -> list[str]:
        return [f"{{text}} {word} {{mask}}" for word in ("so", "very", "the film was")] + [
            "no hole",
            "{text} {mask} {x}",
        ]

    halving = Halving(first=0) if kind in WHOLE else Halving(first=4)
    search = Search(where.look, len(where.rows), Ledger(path, {}), Candidate.plain, Budget(looks=looks), halving)
    prompts = [where.hand.but(templates=[line]) for line in ("{text} {mask}", "The film was {mask}: {text}")]
    means = Means(search.answer, options=4, vectors=2, numbers=3, writer=where.scorer.checkpoint, propose=propose,
                  prompts=prompts)  # fmt: skip
    return search.run(WAYS[kind](where, means), Candidate(where.hand))


@pytest.mark.parametrize("kind", WAYS)
def test_each_way(scorer_of: ScorerOf, tmp_path: Path, kind: Kind) -> None:
    """It tries prompts that the model can answer by, says who made them, and does the same again."""
    family = FAMILY[kind]
    where = ground(scorer_of(family), family, kind)
    first = searched(where, kind, tmp_path / "first")
    assert first.candidates > 1
    assert first.value >= first.hand
    if first.top.spec != where.hand:
        assert first.top.spec.made_by in ((f"search:{kind}",), ())
        assert torch.isfinite(where.scorer.scores(first.top.spec, where.rows, where.vectors(first.top))).all()
    again = searched(where, kind, tmp_path / "again")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()
    assert again == first
    lines = (tmp_path / "first").read_bytes().splitlines(keepends=True)
    (tmp_path / "half").write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:9])
    assert searched(where, kind, tmp_path / "half") == first
    assert (tmp_path / "half").read_bytes() == (tmp_path / "first").read_bytes()


@pytest.mark.parametrize("kind", ["edits", "words", "evolution", "demonstrations", "triggers"])
def test_dual_encoders(scorer_of: ScorerOf, tmp_path: Path, kind: Kind) -> None:
    """A prompt of a dual encoder has no fields; the rows are what is compared."""
    headless = replace(scorer_of("bert").checkpoint, loaded=Loaded(fresh=("head.output.weight",)))
    where = replace(ground(scorer_of("bert"), "bert", kind), scorer=scorer_for(headless))
    assert where.scorer.kind == "dual"
    where = replace(where, hand=where.hand.but(templates=["a very {label} film"]))
    first = searched(where, kind, tmp_path / "first")
    assert first.candidates > 1
    assert first == searched(replace(where, scorer=scorer_for(headless)), kind, tmp_path / "again")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.parametrize("aim", ["chance", "accuracy", "likelihood"])
def test_aims(scorer_of: ScorerOf, aim: str) -> None:
    where = replace(ground(scorer_of("bert"), "bert", "edits"), aim=aim)
    logs, right = where.scorer.scores(where.hand, where.rows), where.right(where.rows)
    chosen = logs[torch.arange(len(right)), right]
    wanted = {"chance": chosen.exp(), "accuracy": (logs.argmax(1) == right).float(), "likelihood": chosen}[aim]
    look = where.look(Candidate(where.hand), range(len(where.rows)))
    assert look.values == pytest.approx(wanted.tolist(), abs=1e-5)
    assert look.tokens > 0


def test_unfit_candidates_are_the_worst(scorer_of: ScorerOf) -> None:
    """A template that is longer than the model does not end a search."""
    where = ground(scorer_of("bert"), "bert", "edits")
    long = where.hand.but(templates=["very " * 2000 + "{text} {mask}"])
    assert where.look(Candidate(long), range(3)) == ([-FLOOR] * 3, 0)


def test_edits_keep_the_holes_and_their_settings(scorer_of: ScorerOf, tmp_path: Path) -> None:
    where = ground(scorer_of("bert"), "bert", "edits")
    template = [{"kind": "field", "name": "text", "keep": "end", "share": 0.5}, {"kind": "text", "text": " It was "},
                {"kind": "mask"}]  # fmt: skip
    where = replace(where, hand=where.hand.but(templates=[template]))
    searched(where, "edits", tmp_path / "ledger", looks=30)
    search = Search(where.look, 8, Ledger(tmp_path / "other", {}), Candidate.plain, Budget(looks=30))
    search.run(WAYS["edits"](where, Means(search.answer)), Candidate(where.hand))
    for candidate in search.seen.values():
        assert holes(cut(candidate.spec.template)) == ("{mask}", "{text}")
        (field,) = [segment for segment in candidate.spec.template if segment.kind == "field"]
        assert (field.keep, field.share) == ("end", 0.5)


def test_triggers_follow_the_gradient(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """Fewer looks than words, and better than the words it began with."""
    where = ground(scorer_of("bert"), "bert", "triggers")
    found = searched(where, "triggers", tmp_path / "ledger", looks=60)
    assert found.value > found.hand
    assert "asked" in (tmp_path / "ledger").read_text(encoding="utf8")


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_model_as_mutator(scorer_of: ScorerOf, tmp_path: Path, family: str) -> None:
    """Words that the model would write are tried in the place of the template's; what it said stands in the ledger."""
    where = ground(scorer_of(family), family, "edits")
    settings = SearchSettings(budget=Budget(looks=12), halving=Halving(first=0), mutator="model")
    first = searched_by(where, "edits", settings, Ledger(tmp_path / "first", {}), Voice(quiet=True))
    assert first.candidates > 1
    told = (tmp_path / "first").read_text(encoding="utf8")
    assert told.count('"asked"') >= 1
    rules = settings.model_copy(update={"mutator": "rules"})
    searched_by(where, "edits", rules, Ledger(tmp_path / "rules", {}), Voice(quiet=True))
    assert (tmp_path / "rules").read_text(encoding="utf8") != told
    searched_by(where, "edits", settings, Ledger(tmp_path / "again", {}), Voice(quiet=True))
    assert (tmp_path / "again").read_text(encoding="utf8") == told


def test_a_budget_that_is_spent_before_the_first_candidate(scorer_of: ScorerOf, tmp_path: Path) -> None:
    """What a way asks before it begins counts, too: the search ends with the prompt it began from."""
    where, settings = ground(scorer_of("bert"), "bert", "words"), SearchSettings(budget=Budget(tokens=1))
    found = searched_by(where, "words", settings, Ledger(tmp_path / "ledger", {}), Voice(quiet=True))
    assert (found.candidates, found.best.spec) == (1, where.hand)


def test_numbers_move_soft_vectors(scorer_of: ScorerOf) -> None:
    where = ground(scorer_of("t5"), "t5", "soft")
    spec = where.hand.but(templates=["{soft:2} {text} {mask}"])
    still, moved = where.vectors(Candidate(spec)), where.vectors(Candidate(spec, (1.0, -1.0, 0.5)))
    assert still is not None
    assert moved is not None
    assert moved["soft"].shape == still["soft"].shape
    assert not torch.equal(moved["soft"], still["soft"])
    assert torch.equal(moved["soft"], where.vectors(Candidate(spec, (1.0, -1.0, 0.5)))["soft"])  # type: ignore[index]


def test_few_rows_of_each_class() -> None:
    rows = few(ROWS, 2, seed=1)
    assert [row.values["label"] for row in rows] == ["bad", "good", "bad", "good"]
    assert few(ROWS, 2, seed=1) == rows != few(ROWS, 2, seed=2)


@pytest.mark.parametrize(("kind", "code"), [("ask", "E2355"), ("fill", "E2353")])
def test_what_is_missing(scorer_of: ScorerOf, kind: Kind, code: str) -> None:
    with pytest.raises(DanluError, match=code):
        WAYS[kind](ground(scorer_of("bert"), "bert", kind), Means(lambda question, ask: ask()[0]))
