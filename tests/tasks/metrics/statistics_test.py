"""Statistics add up: any weights of rows give what the repeated rows give."""

import numpy as np
import pytest

from danlu.tasks.metrics import MEASURES, METRICS, Cases
from danlu.tasks.metrics.tagging import entities
from danlu.tasks.metrics.writing import rouge_words, subsequence, tokenization

TEXTS = ["the cat sat on the mat", "a dog ran home", "it is late", "go", "the end of it all, or so"]
TAGS = [["B-a", "I-a", "O"], ["O", "B-b"], ["B-a"], ["O"], ["B-b", "I-b"]]
KINDS = {
    "accuracy": (list("abacb"), list("abbca")), "macro_f1": (list("abacb"), list("abbca")),
    "micro_f1": (list("abacb"), list("abbca")), "mcc": (list("abacb"), list("abbca")),
    "pearson": ([1.0, 2, 4, 3, 3], [1.0, 3, 2, 5, 3]), "spearman": ([1.0, 2, 4, 3, 3], [1.0, 3, 2, 5, 3]),
    "squared_error": ([1.0, 2, 4, 3, 3], [1.0, 3, 2, 5, 3]), "absolute_error": ([1.0, 2, 4, 3, 3], [1.0, 3, 2, 5, 3]),
    "entity_f1": (TAGS[::-1], TAGS), "tag_accuracy": ([[*row[:-1], "O"] for row in TAGS], TAGS),
    "exact_match": (TEXTS, TEXTS[:2] * 2 + TEXTS[4:]), "token_f1": (TEXTS, ["the mat", "dog", "late", "went", "a mat"]),
    **{name: ([f"{text} now" for text in TEXTS], TEXTS) for name in ("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l")},
    **{name: ([1, 4, 7, 30, 1], [0] * 5) for name in ("recall_at_1", "recall_at_5", "recall_at_10", "mrr")},
    **{name: (list("abacb"), list("abbca")) for name in ("loss", "perplexity", "calibration")},
}  # fmt: skip


def cases(name: str, rows: list[int]) -> Cases:
    predictions, references = ([side[at] for at in rows] for side in KINDS[name])
    chances, losses = [0.5, 0.9, 0.7, 0.3, 0.6], [0.1, 1.5, 0.7, 2.0, 0.3]
    return Cases(predictions, references, [chances[at] for at in rows], [losses[at] for at in rows])


@pytest.mark.parametrize("name", METRICS)
def test_weights_are_repetitions(name: str) -> None:
    weights = np.array([2, 0, 1, 1, 3])
    rows = np.repeat(np.arange(5), weights).tolist()
    repeated = METRICS[name].of(cases(name, rows)).under(np.ones((1, len(rows))))
    weighted = METRICS[name].of(cases(name, list(range(5)))).under(np.stack([weights, np.ones(5)]).astype(float))
    assert weighted[0] == pytest.approx(repeated[0], abs=1e-9)
    assert weighted[0] != pytest.approx(weighted[1], abs=1e-9) or name == "recall_at_10"


@pytest.mark.parametrize("name", METRICS)
def test_leaving_one_out(name: str) -> None:
    measured = METRICS[name].of(cases(name, list(range(5))))
    left = measured.without_each()
    if left is not None:
        assert left == pytest.approx(measured.under(1 - np.eye(5)), abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_rows_of_two_runs_in_one(name: str) -> None:
    """The first half alone is the first run, whatever labels only the second one knows."""
    first, second = cases(name, [0, 1, 2, 3]), cases(name, [4, 1, 0, 2])
    both = METRICS[name].of(first + second)
    half = np.repeat([[1.0, 0.0], [0.0, 1.0]], 4, axis=1)
    apart = [float(METRICS[name].of(each).under(np.ones((1, 4)))[0]) for each in (first, second)]
    assert both.under(half) == pytest.approx(apart, abs=1e-9)


def test_entities_of_the_chinese_scheme() -> None:
    tags = ["B-NAME", "M-NAME", "E-NAME", "O", "S-LOC", "B-ORG", "E-ORG"]
    assert entities(tags) == [("NAME", 0, 2), ("LOC", 4, 4), ("ORG", 5, 6)]
    assert entities(["B-x", "I-x", "L-x", "U-y"]) == [("x", 0, 2), ("y", 3, 3)]
    assert entities(["I-x", "O", "I-x", "I-y"]) == [("x", 0, 0), ("x", 2, 2), ("y", 3, 3)]


def test_chinese_is_cut_into_characters() -> None:
    assert rouge_words("我爱 GPT-3，你呢？") == ["我", "爱", "gpt", "3", "你", "呢"]
    assert rouge_words("Привет, мир") == ["привет", "мир"]
    assert METRICS["rouge_l"](["今天很好"], ["今天不好"]) == pytest.approx(0.75)
    assert METRICS["token_f1"](["北京市"], ["北京"]) == pytest.approx(0.8)
    assert METRICS["exact_match"](["北京。"], ["北京"]) == 1
    assert tokenization(["今天天气很好。"]) == "zh"
    assert tokenization(["A cat."]) == "13a"
    assert tokenization(["これは猫です"]) == "char"


def test_longest_common_subsequence() -> None:
    chance = np.random.default_rng(0)
    for _ in range(200):
        first, second = (chance.choice(list("abcd"), chance.integers(0, 12)).tolist() for _ in range(2))
        table = np.zeros((len(first) + 1, len(second) + 1), int)
        for i, a in enumerate(first):
            for j, b in enumerate(second):
                table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
        assert subsequence(first, second) == table[-1, -1]


def test_every_measure_has_words_in_both_languages() -> None:
    for name, measure in MEASURES.items():
        assert name == measure.name
        assert measure.en
        assert measure.zh
        assert measure.write(0.5)


def test_nothing_has_no_value() -> None:
    assert np.isnan(METRICS["accuracy"]([], []))
