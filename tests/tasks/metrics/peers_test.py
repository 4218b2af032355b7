"""Every metric is equal to the definition its name stands for, on a thousand random cases each."""

import re
import string
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk
from sklearn.preprocessing import MultiLabelBinarizer

from danlu.tasks.metrics import METRICS
from danlu.tasks.metrics.chances import BINS

CASES = 1000
ENGLISH = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "mat,",
    "it's",
    "3.5",
    "U.S.",
    "don't",
    "(well)",
    "Hello!",
    '"quoted"',
    "end.",
    "café",
    "naïve",
    "x-ray",
    "-",
]
CHINESE = [*"我你他是的了在不很好吃饭看书今天气猫狗，。！？", "AI", "3.5", "ok"]


def generators() -> Iterator[np.random.Generator]:
    for seed in range(CASES):
        yield np.random.default_rng(seed)


def sentence(chance: np.random.Generator, words: list[str], most: int = 14, glue: str = " ") -> str:
    return glue.join(chance.choice(words, chance.integers(0, most)).tolist())


def near(chance: np.random.Generator, text: str, words: list[str], glue: str = " ") -> str:
    """A text with some words changed."""
    parts = text.split(glue) if glue else list(text)
    return glue.join(part if chance.random() < 0.7 else str(chance.choice(words)) for part in parts)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_classes_as_scikit_learn_has_them() -> None:
    for chance in generators():
        names = [f"c{at}" for at in range(chance.integers(1, 7))]
        count = int(chance.integers(1, 40))
        true = chance.choice(names, count).tolist()
        said = [each if chance.random() < 0.5 else str(chance.choice(names)) for each in true]
        assert METRICS["accuracy"](said, true) == pytest.approx(sk.accuracy_score(true, said), abs=1e-12)
        assert METRICS["macro_f1"](said, true) == pytest.approx(sk.f1_score(true, said, average="macro"), abs=1e-12)
        assert METRICS["micro_f1"](said, true) == pytest.approx(sk.f1_score(true, said, average="micro"), abs=1e-12)
        assert METRICS["mcc"](said, true) == pytest.approx(sk.matthews_corrcoef(true, said), abs=1e-12)


def test_several_classes_a_row_as_scikit_learn_has_them() -> None:
    for chance in generators():
        names = [f"c{at}" for at in range(chance.integers(2, 7))]
        count = int(chance.integers(1, 20))
        true, said = ([[name for name in names if chance.random() < 0.4] for _ in range(count)] for _ in range(2))
        if len({name for row in [*true, *said] for name in row}) < 2:  # scikit-learn takes one column for two classes
            continue
        table = MultiLabelBinarizer().fit([*true, *said])
        ours, theirs = table.transform(said), table.transform(true)
        assert METRICS["accuracy"](said, true) == pytest.approx(sk.accuracy_score(theirs, ours), abs=1e-12)
        for kind in ("micro", "macro"):
            expected = sk.f1_score(theirs, ours, average=kind, zero_division=0)
            assert METRICS[f"{kind}_f1"](said, true) == pytest.approx(expected, abs=1e-12)


def test_numbers_as_scipy_and_scikit_learn_have_them() -> None:
    for chance in generators():
        count = int(chance.integers(3, 60))
        true = np.round(chance.normal(50, 3, count), int(chance.integers(0, 3)))  # rounded: many are equal
        said = np.round(true * chance.uniform(-1, 2) + chance.normal(0, 3, count) + 1e4, 1)
        assert METRICS["squared_error"](said, true) == pytest.approx(sk.mean_squared_error(true, said))
        assert METRICS["absolute_error"](said, true) == pytest.approx(sk.mean_absolute_error(true, said))
        if len(set(true)) > 1 and len(set(said)) > 1:
            assert METRICS["pearson"](said, true) == pytest.approx(pearsonr(said, true).statistic, abs=1e-9)
            assert METRICS["spearman"](said, true) == pytest.approx(spearmanr(said, true).statistic, abs=1e-9)


def test_correlation_with_a_constant_is_nothing() -> None:
    for name in ("pearson", "spearman"):
        assert METRICS[name]([0.1] * 7, [1.0, 2, 3, 4, 5, 6, 7]) == 0


@pytest.mark.parametrize("scheme", ["BIO", "IOBES", "BMES", "wild"])
def test_entities_as_seqeval_has_them(scheme: str) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    letters = {"BIO": "BI", "IOBES": "BIES", "BMES": "BMES", "wild": "BIES"}[scheme]
    tags = ["O", "O", *(f"{letter}-{kind}" for letter in letters for kind in ("PER", "LOC", "B-x"))]
    for chance in generators():
        lengths = chance.integers(1, 12, int(chance.integers(1, 6)))
        true = [chance.choice(tags, length).tolist() for length in lengths]
        said = [[tag if chance.random() < 0.6 else str(chance.choice(tags)) for tag in row] for row in true]
        inside = [[[re.sub("^M-", "I-", tag) for tag in row] for row in side] for side in (true, said)]
        assert METRICS["entity_f1"](said, true) == pytest.approx(seqeval.f1_score(*inside), abs=1e-12)
        flat = seqeval.accuracy_score(true, said)
        assert METRICS["tag_accuracy"](said, true) == pytest.approx(flat, abs=1e-12)


def squad_plain(text: str) -> str:
    """evaluate-v1.1.py of SQuAD, written again."""
    text = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(said: str, right: str) -> float:
    ours, theirs = squad_plain(said).split(), squad_plain(right).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    if not ours or not theirs:
        return float(ours == theirs)
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def test_answers_as_squad_has_them() -> None:
    for chance in generators():
        rights = [[sentence(chance, ENGLISH, 6) for _ in range(chance.integers(1, 4))] for _ in range(3)]
        said = [near(chance, right[-1], ENGLISH) for right in rights]
        both = list(zip(said, rights, strict=True))
        f1 = np.mean([max(squad_f1(ours, each) for each in right) for ours, right in both])
        exact = np.mean([max(squad_plain(ours) == squad_plain(each) for each in right) for ours, right in both])
        assert METRICS["token_f1"](said, rights) == pytest.approx(f1, abs=1e-12)
        assert METRICS["exact_match"](said, rights) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("words", "glue", "cut"), [(ENGLISH, " ", "13a"), (CHINESE, "", "zh")], ids=["en", "zh"])
def test_texts_as_sacrebleu_has_them(words: list[str], glue: str, cut: str) -> None:
    bleu, chrf = BLEU(tokenize=cut, force=True), CHRF()
    for chance in generators():
        count, several = int(chance.integers(1, 4)), int(chance.integers(1, 3))
        rights = [
            [sentence(chance, words, 14, glue) + "今天很好啊" * (cut == "zh") for _ in range(several)]
            for _ in range(count)
        ]
        said = [near(chance, right[-1], words, glue) for right in rights]
        streams = [list(each) for each in zip(*rights, strict=True)]
        assert METRICS["bleu"](said, rights) == pytest.approx(bleu.corpus_score(said, streams).score, abs=1e-9)
        assert METRICS["chrf"](said, rights) == pytest.approx(chrf.corpus_score(said, streams).score, abs=1e-9)


def test_rouge_as_rouge_score_has_it() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    names = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
    theirs = scorer.RougeScorer(list(names), use_stemmer=False)
    for chance in generators():
        rights = [sentence(chance, ENGLISH) for _ in range(chance.integers(1, 3))]
        said = near(chance, rights[0], ENGLISH)
        expected = theirs.score_multi(rights, said)
        for name, ours in names.items():
            assert METRICS[ours]([said], [rights]) == pytest.approx(expected[name].fmeasure, abs=1e-12)


def test_calibration_as_a_histogram_has_it() -> None:
    for chance in generators():
        count = int(chance.integers(1, 80))
        chances = chance.random(count)
        said, true = (chance.integers(0, 2, count).astype(str) for _ in range(2))
        edges = np.linspace(0, 1, BINS + 1)
        inside = [(chances > low) & (chances <= high) for low, high in pairwise(edges)]
        right = said == true
        expected = sum(abs(right[each].mean() - chances[each].mean()) * each.mean() for each in inside if each.any())
        assert METRICS["calibration"](said, true, chances=chances) == pytest.approx(expected, abs=1e-9)


def test_perplexity_and_loss() -> None:
    for chance in generators():
        targets = chance.integers(1, 30, 5)
        losses = chance.random(5) * targets
        nats = losses.sum() / targets.sum()
        assert METRICS["loss"]([], [], losses=losses, targets=targets) == pytest.approx(nats)
        assert METRICS["perplexity"]([], [], losses=losses, targets=targets) == pytest.approx(np.exp(nats))


def test_ranks() -> None:
    ranks = [1, 3, 6, 20]
    assert METRICS["recall_at_1"](ranks, ranks) == 0.25
    assert METRICS["recall_at_5"](ranks, ranks) == 0.5
    assert METRICS["recall_at_10"](ranks, ranks) == 0.75
    assert METRICS["mrr"](ranks, ranks) == pytest.approx((1 + 1 / 3 + 1 / 6 + 1 / 20) / 4)
    for chance in generators():
        scores = chance.random((4, 6))
        scores[:, 0] += np.arange(4) / 100
        order = (-scores).argsort(1)
        place = (order == 2).argmax(1) + 1
        expected = sk.top_k_accuracy_score([2] * 4, scores, k=5, labels=range(6))
        assert METRICS["recall_at_5"](place.tolist(), [0] * 4) == expected
        truth = np.zeros((4, 6))
        truth[:, 2] = 1
        expected = sk.label_ranking_average_precision_score(truth, scores)  # one right answer: the reciprocal rank
        assert METRICS["mrr"](place.tolist(), [0] * 4) == pytest.approx(expected)
