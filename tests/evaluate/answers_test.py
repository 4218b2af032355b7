"""A classifier's answers to rows: in order, in portions, with the loss of each; and what is made of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from danlu.errors import DanluError
from danlu.evaluate import answers
from danlu.evaluate.answers import check_labels, predict, scores
from danlu.evaluate.judge import by_label, calibration, compared, confusion, details, measured, unseen, wanted
from danlu.evaluate.predictions import Prediction, cases, check_same_rows, read_predictions, write_predictions
from danlu.models.build import build
from danlu.models.classifier import AnswerConfig, Classifier, ClassifierConfig
from danlu.tasks import TASKS, Row
from danlu.tasks.answering import Work, logits_of
from danlu.tasks.framing import Framing
from danlu.tasks.metrics import METRICS
from danlu.voice import Voice

QUIET = Voice("en", quiet=True)
LABELS = ("bad", "good", "so so")


@pytest.fixture(scope="module")
def work(engine_of) -> Work:
    return Work(TASKS["classify"], "classify", LABELS, Framing(engine_of("bert").tokenizer, 32))


@pytest.fixture(scope="module")
def model(engine_of) -> Classifier:
    base = engine_of("bert").model.config
    head = AnswerConfig(labels=LABELS, dense=True, dropout=0.5)
    built = build(ClassifierConfig(base=base, heads={"classify": head}), seed=3)
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=chance)
    return built


def rows(count: int, label: str | None = None) -> list[Row]:
    chance = np.random.default_rng(count)
    texts = ["".join(chance.choice(list("abcdefg "), chance.integers(1, 40))) or "a" for _ in range(count)]
    return [
        Row({"text": text, "label": label or str(chance.choice(LABELS))}, "test.tsv", at + 2)
        for at, text in enumerate(texts)
    ]


def test_portions_change_nothing(model: Classifier, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    some = rows(23)
    whole = list(predict(model, work, some, QUIET, precision="float32"))
    monkeypatch.setattr(answers, "PORTION", 5)
    parts = list(predict(model, work, some, QUIET, batch=3, precision="float32"))
    assert [each.row for each in parts] == list(range(23))
    for one, other in zip(whole, parts, strict=True):
        assert (one.prediction, one.reference, one.key, one.line) == (
            other.prediction,
            other.reference,
            other.key,
            other.line,
        )
        assert one.loss == pytest.approx(other.loss, abs=1e-5)


def test_the_loss_of_a_row_is_what_its_right_answer_cost(model: Classifier, work: Work) -> None:
    some = rows(9)
    examples = work.encode(some)
    model.eval()
    logits = logits_of(model, work, examples, work.loader(examples, 4))
    for found, given, row in zip(predict(model, work, some, QUIET, precision="float32"), logits, some, strict=True):
        shares = given.softmax(-1)
        assert found.loss == pytest.approx(-float(shares[LABELS.index(row.values["label"])].log()), abs=1e-5)
        assert found.chance == pytest.approx(float(shares.max()), abs=1e-5)
        assert found.prediction == LABELS[int(shares.argmax())]
    assert model.training is False


def test_the_model_never_sees_the_right_answer(model: Classifier, work: Work) -> None:
    some = rows(8)
    turned = [row._replace(values={**row.values, "label": "good"}) for row in some]
    said = [[each.prediction for each in predict(model, work, given, QUIET)] for given in (some, turned)]
    assert said[0] == said[1]


def test_labels_that_training_never_saw(model: Classifier, work: Work) -> None:
    some = [*rows(6), *rows(2, "terrible")]
    found = list(predict(model, work, some, QUIET))
    assert [each.loss is None for each in found] == [False] * 6 + [True] * 2
    assert unseen(found, LABELS) == {"terrible": 2}
    assert "loss" not in [metric.name for metric in wanted("classify", ("accuracy",), found)]
    with pytest.raises(DanluError, match="E1823"):
        check_labels(work, rows(4, "terrible"))


def test_nothing_to_evaluate(model: Classifier, work: Work) -> None:
    with pytest.raises(DanluError, match="E1809"):
        list(predict(model, work, [], QUIET))


def test_scores_are_the_metrics(model: Classifier, work: Work) -> None:
    found = list(predict(model, work, rows(30), QUIET))
    given = cases(found)
    losses = {"loss": pytest.approx(np.mean(given.losses))}
    assert scores(model, work, rows(30), QUIET) == losses | {
        name: METRICS[name](given.predictions, given.references) for name in work.task.metrics
    }
    by_name = {row["name"]: row for row in measured(wanted("classify", work.task.metrics, found), found)}
    assert set(by_name) == {*work.task.metrics, "loss", "calibration"}
    assert by_name["accuracy"]["low"] <= by_name["accuracy"]["value"] <= by_name["accuracy"]["high"]


def given_predictions() -> list[Prediction]:
    made = [("a", "a", 0.9), ("a", "b", 0.8), ("b", "b", 0.6), ("c", "a", 0.5), ("b", "b", 0.95), ("a", "a", 0.7)]
    return [
        Prediction(at, "x.csv", at + 2, f"{at:016x}", f"text {at}", said, right, chance, 1 / chance, length=3 * at + 4,
                   columns={"source": "web" if at < 4 else "book"})
        for at, (said, right, chance) in enumerate(made)
    ]  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "predictions.jsonl", given_predictions())
    assert read_predictions(path) == given_predictions()
    path.write_text("{}\n")
    with pytest.raises(DanluError, match="E1824"):
        read_predictions(path)
    with pytest.raises(DanluError, match="E1824"):
        read_predictions(tmp_path / "none.jsonl")


def test_where_a_model_goes_wrong() -> None:
    found = details("classify", given_predictions(), METRICS["accuracy"], ["source"])
    assert [row["text"] for row in found["worst"]][:2] == ["text 3", "text 2"]
    assert found["worst"][0]["line"] == 5
    assert [(row["group"], row["value"], row["count"]) for row in found["slices"]["source"]] == [
        ("web", 0.5, 4),
        ("book", 1, 2),
    ]
    assert sum(row["count"] for row in found["slices"]["length"]) == 6
    assert found["slices"]["length"][0]["group"] == "4–8"


def test_confusion_rows_are_right_answers() -> None:
    found = confusion(given_predictions())
    assert found["labels"] == ["a", "b", "c"]
    assert found["counts"] == [[2, 0, 1], [1, 2, 0], [0, 0, 0]]


def test_rare_labels_are_taken_together() -> None:
    some = [Prediction(at, "", 0, "", "", f"l{at:02}", f"l{at:02}") for at in range(40)]
    found = confusion(some)
    assert len(found["labels"]) == 26
    assert found["labels"][-1] == "…"
    assert np.trace(found["counts"]) == 40


def test_labels_apart_as_scikit_learn_has_them() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    some = given_predictions()
    found = {row["label"]: row for row in by_label("classify", some)}
    sides = [each.reference for each in some], [each.prediction for each in some]
    precision, recall, f1, count = precision_recall_fscore_support(*sides, labels=["a", "b"], zero_division=0)
    for at, label in enumerate(["a", "b"]):
        row = found[label]
        assert (row["precision"], row["recall"], row["f1"], row["count"]) == pytest.approx(
            (precision[at], recall[at], f1[at], count[at])
        )
    assert found["c"]["recall"] is None


def test_labels_of_entities() -> None:
    some = [Prediction(0, "", 0, "", "", ["B-x", "I-x", "O", "B-y"], ["B-x", "I-x", "O", "B-x"])]
    assert by_label("tag", some)[0] == {
        "label": "x",
        "count": 2,
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }


def test_calibration_bins() -> None:
    found = calibration(given_predictions())
    assert sum(row["count"] for row in found) == 6
    assert sum(row["right"] * row["count"] for row in found) == 4


def test_runs_are_compared_on_the_same_rows_only() -> None:
    first = given_predictions()
    found = compared([METRICS["accuracy"], METRICS["loss"]], first, first)
    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(
        ("accuracy", "loss"), "no difference shown"
    )
    with pytest.raises(DanluError, match="E1821"):
        check_same_rows(first, first[:-1])
    with pytest.raises(DanluError, match="E1821"):
        check_same_rows(first, [*first[1:], first[0]])


def answering(
    engine_of, task: str, labels: tuple[str, ...], form: str, problem: str = "single"
) -> tuple[Classifier, Work]:
    engine = engine_of("bert")
    head = AnswerConfig(form=form, problem=problem, labels=labels, dropout=0.0, at="mean")
    built = build(ClassifierConfig(base=engine.model.config, heads={task: head}), seed=1)
    return built, Work(TASKS[task], task, labels, Framing(engine.tokenizer, 24))


def fitted(work: Work, *values: dict[str, object]) -> list[Row]:
    return [Row(work.task.fit(each), "x.jsonl", at + 1) for at, each in enumerate(values)]


def test_sentences_with_tags(engine_of) -> None:
    model, work = answering(engine_of, "tag", ("B-x", "I-x", "O"), "token")
    some = fitted(
        work,
        {"tokens": ["the", "fox", "jumps"], "tags": ["O", "B-x", "O"]},
        {"tokens": ["a"] * 30, "tags": ["B-x", *["I-x"] * 29]},
    )
    found = list(predict(model, work, some, QUIET, precision="float32"))
    assert [len(each.prediction) for each in found] == [3, 30]
    assert found[0].targets == 3
    alone = next(predict(model, work, some[:1], QUIET, precision="float32"))
    assert alone.loss == pytest.approx(found[0].loss, abs=1e-4)  # padding costs nothing


def test_numbers_on_their_own_scale(engine_of) -> None:
    from dataclasses import replace

    model, work = answering(engine_of, "regress", ("number",), "row", "number")
    work = replace(work, shift=100.0, scale=10.0)
    some = fitted(work, {"text": "fox", "label": 104}, {"text": "dog", "label": 90})
    found = list(predict(model, work, some, QUIET, precision="float32"))
    assert all(abs(each.prediction - 100) < 60 for each in found)
    assert found[0].loss == pytest.approx(((found[0].prediction - 104) / 10) ** 2, abs=1e-3)
    assert [metric.name for metric in wanted("regress", work.task.metrics, found)] == list(work.task.metrics)
    names = [row["name"] for row in measured(wanted("regress", work.task.metrics, found), found)]
    assert names == list(work.task.metrics)


def test_choices_of_different_number(engine_of) -> None:
    model, work = answering(engine_of, "choose", (), "choice")
    some = fitted(work, {"text": "the", "choices": ["fox", "dog"], "label": 1},
                  {"text": "a", "choices": ["fox", "dog", "lazy"], "label": "lazy"})  # fmt: skip
    found = list(predict(model, work, some, QUIET, precision="float32"))
    alone = next(predict(model, work, some[:1], QUIET, precision="float32"))
    assert alone.loss == pytest.approx(found[0].loss, abs=1e-4)
    assert [each.reference for each in found] == [1, 2]
    assert set(details("choose", found, METRICS["accuracy"])) >= {"worst", "confusion", "calibration"}


def test_partners_are_ranked_among_all(engine_of, monkeypatch: pytest.MonkeyPatch) -> None:
    model, work = answering(engine_of, "retrieve", (), "vector")
    words = ["fox", "dog", "lazy", "quick", "brown", "the", "over", "fox"]
    some = fitted(work, *({"text": word, "text_b": word} for word in words))
    found = list(predict(model, work, some, QUIET, precision="float32"))
    assert [each.prediction for each in found] == [
        1
    ] * 8  # a text is nearest to itself; the two that are equal, to both
    other = fitted(
        work, *({"text": word, "text_b": next_} for word, next_ in zip(words, words[1:] + words[:1], strict=True))
    )
    whole = [each.prediction for each in predict(model, work, other, QUIET, precision="float32")]
    monkeypatch.setattr(answers, "PORTION", 3)
    assert [each.prediction for each in predict(model, work, other, QUIET, precision="float32")] == whole
    assert max(whole) <= 7


def test_spans_of_text(engine_of) -> None:
    model, work = answering(engine_of, "span", (), "span")
    some = fitted(
        work, {"question": "the fox", "context": "a quick brown fox jumps over the lazy dog", "answers": ["dog"]}
    )
    found = list(predict(model, work, some, QUIET, precision="float32"))
    assert found[0].reference == ["dog"]
    assert found[0].loss is not None
    assert [row["name"] for row in measured(wanted("span", work.task.metrics, found), found)][:2] == [
        "exact_match",
        "token_f1",
    ]


def test_without_losses_the_metric_says_which_rows_are_worst() -> None:
    pairs = [("a cat sat", "a cat sat"), ("dogs", "a cat sat"), ("a cat", "a cat sat")]
    some = [Prediction(at, "", at, "", "", said, right) for at, (said, right) in enumerate(pairs)]
    found = details("translate", some, METRICS["chrf"])["worst"]
    assert [row["line"] for row in found] == [1, 2, 0]
    assert found[-1]["score"] == pytest.approx(100)


def test_tagged_entities_are_told_by_their_words() -> None:
    tags = ["O", "B-LOC", "I-LOC", "O"], ["O", "O", "O", "O"]
    some = [Prediction(0, "", 1, "", "near New York today", tags[1], tags[0], loss=2.0)]
    row = details("tag", some, METRICS["entity_f1"])["worst"][0]
    assert (row["reference"], row["prediction"]) == (["LOC New York"], ["—"])
