"""Models of two towers: a class is the mean of its texts' vectors; what was read once is remembered, and forgotten when
the weights change."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.models.weights import Loaded
from danlu.prompt.dual import SCALE, TextScorer
from danlu.prompt.folds import crossed
from danlu.prompt.scorers import scorer_for
from danlu.prompt.spec import Demonstration, PromptSpec, Verbaliser
from danlu.tasks.task import Row
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

TEXTS = ["the film was great", "a dull and terrible plot", "great fun", "bad", "this text is about food"] * 4
WORDS = Verbaliser(words={"good": ("great", "fun"), "bad": ("terrible",)})
SPEC = PromptSpec(templates=("This text is {label}.", "{label}"), verbaliser=WORDS, query="{text}")
ROWS = [Row({"text": text, "label": "good" if "great" in text else "bad"}) for text in TEXTS[:5]]


@pytest.fixture
def scorer() -> TextScorer:
    family, _ = fresh("bert-tiny")
    tokenizer = train_tokenizer(
        iter(TEXTS), TokenizerSettings(kind="wordpiece", vocabulary=200), family.specials, Voice(quiet=True),
        frame=family.frame,
    )  # fmt: skip
    family, config = fresh("bert-tiny", tokenizer.vocabulary)
    checkpoint = Checkpoint(family, config, build(config, seed=2).eval(), tokenizer)
    found = scorer_for(replace(checkpoint, loaded=Loaded(fresh=("head.transform.dense.weight",))))
    assert isinstance(found, TextScorer)
    return found


def vector(scorer: TextScorer, text: str) -> torch.Tensor:
    """One text alone: the mean of its last hidden states, of length one."""
    ids = scorer.tokenizer.frame(scorer.tokenizer.encode(text))
    with torch.inference_mode():
        return normalize(scorer.model.hidden(torch.tensor([ids]))[0].mean(0), dim=0)  # type: ignore[operator]


def test_as_computed_one_text_at_a_time(scorer: TextScorer) -> None:
    texts = {
        "good": ["This text is great.", "This text is fun.", "great", "fun"],
        "bad": ["This text is terrible.", "terrible"],
    }
    classes = torch.stack(
        [normalize(torch.stack([vector(scorer, t) for t in some]).mean(0), dim=0) for some in texts.values()]
    )
    rows = torch.stack([vector(scorer, row.values["text"]) for row in ROWS])
    wanted = (SCALE * rows @ classes.T).log_softmax(1)
    torch.testing.assert_close(scorer.scores(SPEC, ROWS), wanted, atol=1e-5, rtol=1e-5)
    forward = scorer.forward(SPEC, ROWS)
    assert forward.requires_grad
    torch.testing.assert_close(forward.detach(), wanted, atol=1e-5, rtol=1e-5)


def test_what_was_read_is_remembered_until_the_weights_change(
    scorer: TextScorer, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """And a prompt costs as many tokens, whether they were read before or not."""
    read = list[int]()
    embed = TextScorer.embed
    monkeypatch.setattr(TextScorer, "embed", lambda self, some: read.append(len(some)) or embed(self, some))
    first, spent, looked = scorer.scores(SPEC, ROWS), scorer.tokens_spent, sum(read)
    assert torch.equal(scorer.scores(SPEC, ROWS), first)
    assert (scorer.tokens_spent, sum(read)) == (2 * spent, looked)
    with torch.no_grad():
        next(scorer.model.parameters()).mul_(1.5)
    assert not torch.equal(scorer.scores(SPEC, ROWS), first)
    assert sum(read) == 2 * looked


def test_examples_join_the_vector_of_their_class(scorer: TextScorer) -> None:
    pool = (Demonstration(values={"text": ROWS[0].values["text"]}, label="good"),)
    before = scorer.scores(SPEC, ROWS[:1])[0, 0]
    for share, more in ((0.0, False), (0.5, True), (1.0, True)):
        shown = SPEC.but(demonstrations={"pool": pool, "count": 1, "share": share})
        assert bool(scorer.scores(shown, ROWS[:1])[0, 0] > before + 1e-3) == more


@pytest.mark.parametrize(
    "changes",
    [
        {"templates": ["{text} is {label}"]},
        {"demonstrations": {"pool": [{"values": {"text": "x"}, "label": "good"}], "count": 1, "selector": "nearest"}},
    ],
)
def test_what_two_towers_cannot_do(scorer: TextScorer, changes: dict[str, object]) -> None:
    with pytest.raises(DanluError) as caught:
        scorer.scores(SPEC.but(**changes), ROWS)
    assert caught.value.code == "E2307"


def test_no_row_is_judged_by_a_prompt_that_shows_it(scorer: TextScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TextScorer.scores

    def watched(self: TextScorer, spec: PromptSpec, rows: list[Row]) -> torch.Tensor:
        shown = {each.values["text"] for each in spec.demonstrations.pool if spec.demonstrations.count}
        assert not shown & {row.values["text"] for row in rows}
        return plain(self, spec, rows)

    monkeypatch.setattr(TextScorer, "scores", watched)
    found = crossed(scorer, [SPEC], ROWS)
    assert len(found) == 5
    assert found == sorted(found, key=lambda each: -each.value)
    assert {each.spec.demonstrations.count for each in found} == {0, len(ROWS)}
