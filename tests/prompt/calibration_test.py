"""What calibration takes away, in a model that leans to one side."""

from collections.abc import Callable

import torch

from danlu.prompt.calibration import calibrated, content_free
from danlu.prompt.scorer import Scorer
from danlu.prompt.spec import PromptSpec, Verbaliser
from danlu.tasks.task import Row

ScorerOf = Callable[[str], Scorer]


def test_a_model_that_knows_nothing_but_its_lean_ends_up_undecided() -> None:
    lean = torch.tensor([-0.2, -3.0, -5.0])
    raw, free = lean.expand(7, 3), lean.expand(3, 3)
    for kind in ("contextual", "pmi", "batch"):
        found = calibrated(kind, raw, free).exp()  # type: ignore[arg-type]
        torch.testing.assert_close(found, torch.full((7, 3), 1 / 3))
    torch.testing.assert_close(calibrated("none", raw, None), raw.log_softmax(-1))


def test_the_formulas() -> None:
    raw, free = torch.randn(5, 4), torch.randn(3, 4)
    chances, without = raw.softmax(-1), free.softmax(-1).mean(0)
    scaled = chances / without  # W = diag(p_cf)^-1
    torch.testing.assert_close(calibrated("contextual", raw, free).exp(), scaled / scaled.sum(1, keepdim=True))
    whole = chances / chances.mean(0)
    torch.testing.assert_close(calibrated("batch", raw, None).exp(), whole / whole.sum(1, keepdim=True))
    difference = (raw - free[:1]).softmax(-1)
    torch.testing.assert_close(calibrated("pmi", raw, free[:1]).exp(), difference)


def test_it_can_hurt_and_then_it_is_not_chosen() -> None:
    """A prompt without content that leans to the side that is right for every row."""
    raw, free, right = torch.tensor([[0.6, 0.0]] * 4), torch.tensor([[2.0, 0.0]] * 3), torch.zeros(4)
    shares = {
        kind: float((calibrated(kind, raw, free).argmax(1) == right).float().mean())  # type: ignore[arg-type]
        for kind in ("none", "contextual")
    }
    assert shares == {"none": 1.0, "contextual": 0.0}


def test_a_scorer_asks_about_nothing_and_every_kind_says_something_else(scorer_of: ScorerOf, rows: list[Row]) -> None:
    scorer = scorer_of("gpt2")
    words = Verbaliser(words={"a": ("great",), "b": ("bad",)})
    spec = PromptSpec(templates=("{text} It was {mask}",), verbaliser=words)
    said = {kind: scorer.scores(spec.but(calibration=kind), rows) for kind in ("none", "contextual", "pmi", "batch")}
    for kind, found in said.items():
        assert abs(float(found.exp().sum()) - len(rows)) < 1e-4
        assert kind == "none" or not torch.allclose(found, said["none"], atol=1e-4)
    empty = scorer.scores(spec.but(calibration="pmi"), [Row({"text": ""})])
    torch.testing.assert_close(empty.exp(), torch.full((1, 2), 0.5), atol=1e-4, rtol=1e-4)
    assert [row.values["text"] for row in content_free("contextual", ["text"])] == ["N/A", "[MASK]", ""]
    alone = scorer.scores(spec.but(calibration="batch"), rows[:1])
    assert not torch.allclose(alone[0], said["batch"][0], atol=1e-4)  # its answer depends on its company
