"""The losses of heads are those of the published classes, and options of theirs have an effect."""

import pytest
import torch
import transformers as hf
from torch.nn.functional import cross_entropy

from danlu.data.batch import IGNORED, Batch
from danlu.models.build import build
from danlu.models.classifier import ClassifierConfig, Form, Problem
from danlu.models.families import fresh
from danlu.models.families.heads import answer_config
from danlu.train.answers import ANSWERS, AnswerObjective, AnswerSettings, distance


def objective(form: Form, problem: Problem, loss: str, **settings: float) -> tuple[torch.nn.Module, AnswerObjective]:
    family, base = fresh("bert-tiny", 50, width=32, depth=1, heads=2, dropout=0.0)
    labels = ("a", "b", "c") if form in ("row", "token") else ()
    head = answer_config(family, form, problem, labels, dropout=0.0)
    model = build(ClassifierConfig(base=base, heads={"x": head}), seed=1)
    return model, AnswerObjective({"x": loss}, AnswerSettings(**settings))


def mean(
    model: torch.nn.Module, made: AnswerObjective, targets: torch.Tensor, shape: tuple[int, ...] = (4, 7)
) -> float:
    tokens = torch.randint(5, 50, shape, generator=torch.Generator().manual_seed(0))
    batch = Batch({"tokens": tokens}, {"x": targets})
    return float(made(model, batch)["x"]) / made.counts(batch)["x"]


@pytest.mark.parametrize(("form", "problem", "loss", "targets", "name"), [
    ("row", "single", "labels", torch.tensor([0, 1, 2, 1]), "single_label_classification"),
    ("row", "several", "several", torch.eye(4)[:, :3], "multi_label_classification"),
    ("row", "number", "numbers", torch.arange(12.0).view(4, 3), "regression"),
])  # fmt: skip
def test_losses_are_the_published_ones(
    form: Form, problem: Problem, loss: str, targets: torch.Tensor, name: str
) -> None:
    model, made = objective(form, problem, loss)
    tokens = torch.randint(5, 50, (4, 7), generator=torch.Generator().manual_seed(0))
    config = hf.BertConfig(num_labels=3, problem_type=name)
    config.num_labels = 3
    logits = model(tokens)
    theirs = {
        "regression": torch.nn.functional.mse_loss,
        "single_label_classification": cross_entropy,
        "multi_label_classification": torch.nn.functional.binary_cross_entropy_with_logits,
    }[name](logits, targets)
    assert mean(model, made, targets) == pytest.approx(float(theirs), rel=1e-5)


def test_tags_are_asked_where_there_is_one() -> None:
    model, made = objective("token", "single", "tags")
    targets = torch.full((4, 7), IGNORED)
    targets[0, 2], targets[3, 5] = 1, 2
    tokens = torch.randint(5, 50, (4, 7), generator=torch.Generator().manual_seed(0))
    logits = model(tokens)
    expected = cross_entropy(torch.stack([logits[0, 2], logits[3, 5]]), torch.tensor([1, 2]))
    assert mean(model, made, targets) == pytest.approx(float(expected), rel=1e-5)


def test_spans_and_choices() -> None:
    model, made = objective("span", "single", "spans")
    targets = torch.tensor([[0, 1], [2, 2], [3, 6], [0, 0]])
    tokens = torch.randint(5, 50, (4, 7), generator=torch.Generator().manual_seed(0))
    logits = model(tokens)
    both = (cross_entropy(logits[..., 0], targets[:, 0]) + cross_entropy(logits[..., 1], targets[:, 1])) / 2
    assert mean(model, made, targets) == pytest.approx(float(both), rel=1e-5)
    model, made = objective("choice", "single", "choices")
    tokens = torch.randint(5, 50, (4, 3, 7), generator=torch.Generator().manual_seed(0))
    expected = cross_entropy(model(tokens), torch.tensor([0, 2, 1, 1]))
    assert mean(model, made, torch.tensor([0, 2, 1, 1]), (4, 3, 7)) == pytest.approx(float(expected), rel=1e-5)


def test_queries_find_their_own_among_the_batch() -> None:
    vectors = torch.eye(4)[:, None].repeat(1, 2, 1)
    found = ANSWERS["pairs_of_texts"](vectors, torch.zeros(4), AnswerSettings(temperature=0.05))
    lost = ANSWERS["pairs_of_texts"](vectors.roll(1, 0).mul(1.0)[:, [0, 1]], torch.zeros(4), AnswerSettings())
    wrong = ANSWERS["pairs_of_texts"](
        torch.stack([torch.eye(4), torch.eye(4).roll(1, 0)], 1), torch.zeros(4), AnswerSettings()
    )
    assert float(found) == pytest.approx(float(lost))
    assert float(found) < 1e-6 < float(wrong)
    warm = ANSWERS["pairs_of_texts"](vectors, torch.zeros(4), AnswerSettings(temperature=1.0))
    assert float(warm) > float(found)


def test_smoothing_keeps_some_doubt() -> None:
    model, plain = objective("row", "single", "labels")
    smooth = AnswerObjective({"x": "labels"}, AnswerSettings(smoothing=0.2))
    targets = torch.tensor([0, 1, 2, 1])
    assert mean(model, plain, targets) != pytest.approx(mean(model, smooth, targets), abs=1e-6)


def test_a_batch_without_targets_for_a_head_counts_nothing() -> None:
    family, base = fresh("bert-tiny", 50, width=32, depth=1, heads=2)
    heads = {name: answer_config(family, "row", "single", ("a", "b")) for name in ("x", "y")}
    model = build(ClassifierConfig(base=base, heads=heads), seed=1)
    made = AnswerObjective({"x": "labels", "y": "labels"})
    batch = Batch({"tokens": torch.ones(2, 5, dtype=torch.long)}, {"y": torch.tensor([0, 1])})
    assert made.counts(batch) == {"x": 0, "y": 2}
    found = made(model, batch)
    assert float(found["x"]) == 0.0
    assert float(found["y"]) > 0.0


ASKED = [
    ("row", "single", "labels", torch.tensor([0, 1, 2, 1])), ("row", "several", "several", torch.eye(4)[:, :3]),
    ("row", "number", "numbers", torch.arange(12.0).view(4, 3)), ("token", "single", "tags", torch.ones(4, 7).long()),
    ("span", "single", "spans", torch.tensor([[0, 1], [2, 3], [1, 1], [0, 6]])),
]  # fmt: skip


@pytest.mark.parametrize(("form", "problem", "loss", "targets"), ASKED)
def test_two_passes_that_differ_cost(form: Form, problem: Problem, loss: str, targets: torch.Tensor) -> None:
    """Without dropout the two are one, and nothing is added; with dropout they differ, and it is."""
    model, twice = objective(form, problem, loss, consistency=4.0)
    once = AnswerObjective({"x": loss}, AnswerSettings())
    assert mean(model.train(), twice, targets) == pytest.approx(mean(model, once, targets), rel=1e-5)
    model.tower.embedding.dropout.p = 0.5  # type: ignore[union-attr]
    costs = [AnswerObjective({"x": loss}, AnswerSettings(consistency=each)) for each in (1e-9, 4.0)]
    found = []
    for each in costs:
        torch.manual_seed(0)
        found.append(mean(model, each, targets))
    assert found[1] > found[0]
    assert mean(model.eval(), twice, targets) == pytest.approx(mean(model, once, targets), rel=1e-5)


def test_a_distance_is_a_divergence_both_ways() -> None:
    one, other = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    p, q = one.softmax(-1), other.softmax(-1)
    both = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
    assert float(distance(one, other, torch.tensor([1]), "labels")) == pytest.approx(float(both), rel=1e-5)
    assert float(distance(one, other, torch.tensor([IGNORED]), "labels")) == 0
