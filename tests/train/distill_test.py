"""Distilling: divergences as defined, every loss felt in every family, a teacher asked once."""

import pytest
import torch
from shrinking import given, small, stirred
from torch.nn import functional as F

from danlu.data.batch import IGNORED, Batch
from danlu.models.build import build
from danlu.models.classifier import AnswerConfig, ClassifierConfig
from danlu.train.distill import BRIDGES, Distil, DistilObjective, bridges, divergence
from danlu.train.taps import tapped

FAMILIES = ("bert-tiny", "gpt2-tiny", "llama-tiny", "palm-tiny", "t5-tiny", "bart-tiny", "clip-tiny", "align-tiny")
INSIDE = {"hidden": 1.0, "attention": 1.0, "relations": 1.0}


def batch_of(name: str) -> Batch:
    config = small(name)
    inputs = given(config)
    if config.kind == "dual":
        return Batch(inputs, {"alike": torch.arange(4)})
    targets = inputs["target" if "target" in inputs else "tokens"].clone()
    targets[:, ::2] = IGNORED
    return Batch(inputs, {"tokens": targets})


def losses(objective: DistilObjective, model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    return {name: total / objective.counts(batch)[name] for name, total in objective(model, batch).items()}


def test_divergences_are_as_defined() -> None:
    draw = torch.Generator().manual_seed(0)
    theirs, mine = (torch.randn(5, 7, generator=draw) for _ in range(2))
    p, q = theirs.softmax(-1), mine.softmax(-1)
    forward, reverse = (p * (p / q).log()).sum(), (q * (q / p).log()).sum()
    torch.testing.assert_close(divergence(theirs, mine, 0.0), forward)
    torch.testing.assert_close(divergence(theirs, mine, 1.0), reverse)
    for beta in (0.1, 0.5, 0.9):
        m = beta * p + (1 - beta) * q
        wanted = beta * (p * (p / m).log()).sum() + (1 - beta) * (q * (q / m).log()).sum()
        torch.testing.assert_close(divergence(theirs, mine, beta), wanted)
        assert float(divergence(theirs, theirs, beta)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_copy_has_nothing_to_learn_and_another_has(name: str) -> None:
    batch, config = batch_of(name), small(name)
    inner = {"hidden": 1.0} if name == "align-tiny" else INSIDE
    objective = DistilObjective(stirred(config, 1), Distil(answers=0.0, **inner))
    same, other = (losses(objective, stirred(config, seed), batch) for seed in (1, 2))
    assert set(same) == {"logits", *inner}
    for each in same:
        assert float(same[each]) == pytest.approx(0, abs=1e-3), each
        assert float(other[each]) > 1e-2, each


@pytest.mark.parametrize("name", [each for each in FAMILIES if each not in ("clip-tiny", "align-tiny")])
def test_a_smaller_student_feels_every_loss(name: str) -> None:
    batch = batch_of(name)
    words = {"width": 64, "heads": 1} if name != "llama-tiny" else {"width": 64, "heads": 1, "kv_heads": 1}
    teacher, student = stirred(small(name)), stirred(small(name, depth=1, **words), 3)
    made = bridges(student, teacher)
    assert made is not None
    setattr(student, BRIDGES, made)
    objective = DistilObjective(teacher, Distil(**INSIDE))
    for each, loss in losses(objective, student.train(), batch).items():
        student.zero_grad()
        if loss.requires_grad:
            loss.backward(retain_graph=True)
        felt = sum(float(p.grad.abs().sum()) for p in student.parameters() if p.grad is not None)
        assert felt > 0, each
    assert not any(parameter.grad is not None for parameter in teacher.parameters())


def test_logits_are_softened_and_kept_in_size() -> None:
    name = "gpt2-tiny"
    batch, teacher, student = batch_of(name), stirred(small(name), 1), stirred(small(name), 2)
    asked = batch.targets["tokens"] != IGNORED
    with torch.no_grad():
        theirs, mine = (model(**batch.inputs)[asked] for model in (teacher, student))
    for heat in (1.0, 4.0):
        wanted = heat**2 * F.kl_div((mine / heat).log_softmax(-1), (theirs / heat).softmax(-1), reduction="batchmean")
        found = losses(DistilObjective(teacher, Distil(temperature=heat)), student, batch)["logits"]
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_classifiers_heads_are_distilled() -> None:
    config = ClassifierConfig(base=small("bert-tiny"), heads={"c": AnswerConfig(labels=("a", "b", "c"), dropout=0.0)})
    batch = Batch(given(config), {"c": torch.tensor([0, 1, 2, IGNORED])})
    teacher, student = stirred(config, 1), stirred(config, 2)
    objective = DistilObjective(teacher, Distil(temperature=1.0), losses={"c": "labels"})
    found = losses(objective, student, batch)
    with torch.no_grad():
        theirs, mine = (model(**batch.inputs)[:3] for model in (teacher, student))
    wanted = F.kl_div(mine.log_softmax(-1), theirs.softmax(-1), reduction="batchmean")
    torch.testing.assert_close(found["logits"], wanted, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found["answers"], F.cross_entropy(mine, torch.tensor([0, 1, 2])), rtol=1e-3, atol=1e-4)


def test_a_teacher_is_asked_once_for_what_it_keeps() -> None:
    name = "gpt2-tiny"
    batch, student = batch_of(name), stirred(small(name), 2)
    teacher = stirred(small(name), 1)
    asked = []
    teacher.tower.register_forward_hook(lambda *_: asked.append(1))
    whole = DistilObjective(teacher, Distil(answers=0.0, top=96))
    first, second = (float(whole(student, batch)["logits"].detach()) for _ in range(2))
    assert len(asked) == 1
    assert first == pytest.approx(second, rel=1e-3)
    assert first == pytest.approx(
        float(DistilObjective(teacher, Distil(answers=0.0))(student, batch)["logits"]), rel=1e-2
    )


def test_texts_of_the_teachers_own_are_written_once() -> None:
    name = "gpt2-tiny"
    batch, student, teacher = batch_of(name), stirred(small(name), 2), stirred(small(name), 1)
    written = []

    def write(model: torch.nn.Module, given: Batch) -> Batch:
        written.append(model)
        return Batch({"tokens": given.inputs["tokens"].flip(1)}, given.targets)

    objective = DistilObjective(teacher, Distil(texts="teacher"), write=write)
    for _ in range(2):
        objective(student.train(), batch)
    assert written == [teacher]
    own = DistilObjective(teacher, Distil(own=1.0), write=write)
    own(student.train(), batch)
    assert written == [teacher, student]
    own(student.eval(), batch)  # never while it is measured
    assert len(written) == 2


def test_what_is_inside_is_seen_by_nobody_else() -> None:
    config = small("bert-tiny")
    model = build(config)
    with tapped(model, True, True) as seen:
        model(**given(config))
    assert [tuple(each.shape) for each in seen.streams[0]] == [(4, 12, 128)] * 2
    weights = seen.compared[0][0].weights()
    torch.testing.assert_close(weights.exp().sum(-1), torch.ones(4, 2, 12))
    model(**given(config))
    assert len(seen.streams[0]) == 2
