"""Duplicates against brute force: every pair of texts compared by the words they share."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from danlu.data.duplicates import Digest, Duplicates, band_size
from danlu.data.grams import grams, normal, signature, words_of
from danlu.data.settings import DeduplicateSettings

NEAR = DeduplicateSettings(kind="near")


def jaccard(first: str, second: str, words: int) -> float:
    """The share of runs of words that two texts have in common, run by run."""
    one, two = (
        {tuple(each[at : at + words]) for at in range(len(each) - words + 1)} for each in map(words_of, (first, second))
    )
    return len(one & two) / max(1, len(one | two))


def texts(seed: int, count: int) -> list[str]:
    """Texts of random words, some of them copies with changes of every degree."""
    draw = random.Random(seed)
    made: list[str] = []
    for _ in range(count):
        if made and draw.random() < 0.5:
            words = draw.choice(made).split()
            for _ in range(draw.choice([0, 1, 1, 2, 4, 8, 16])):
                words[draw.randrange(len(words))] = f"w{draw.randrange(5000)}"
        else:
            words = [f"w{draw.randrange(5000)}" for _ in range(draw.randint(150, 250))]
        made.append(" ".join(words))
    return made


def found_in(made: list[str], settings: DeduplicateSettings, folder: Path) -> dict[int, str]:
    with Duplicates(settings, folder / "signatures") as duplicates:
        for text in made:
            digest = Digest()
            digest.add(normal(text))
            duplicates.add(digest.number, text)
        found = {number: repeat.reason for number, repeat in duplicates.repeats().items()}
    assert not (folder / "signatures").exists()
    return found


@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_are_those_of_brute_force(seed: int, tmp_path: Path) -> None:
    made = texts(seed, 150)
    found = found_in(made, NEAR, tmp_path)
    kept: list[int] = []
    for number, text in enumerate(made):
        most = max((jaccard(text, made[other], NEAR.words) for other in kept), default=0.0)
        if abs(most - NEAR.similarity) > 0.1:  # what lies on the border may fall on either side
            assert (number in found) == (most > NEAR.similarity), (number, most)
        if number not in found:
            kept.append(number)
    assert any(reason == "near duplicate" for reason in found.values())


def test_the_same_documents_give_the_same_verdicts(tmp_path: Path) -> None:
    made = texts(7, 80)
    assert found_in(made, NEAR, tmp_path) == found_in(made, NEAR, tmp_path)


def test_equal_texts_are_exact_duplicates_whatever_their_spaces_and_capitals(tmp_path: Path) -> None:
    made = [
        "The cat sat.",
        "A dog ran.",
        "the  CAT\nsat.",
        "The cat sat",
        "ＴＨＥ cat sat.",
        "猫坐在这里。",
        "猫 坐在 这里。",
    ]
    exact = DeduplicateSettings(kind="exact")
    assert found_in(made, exact, tmp_path) == {2: "duplicate", 4: "duplicate", 6: "duplicate"}


def test_a_changed_chinese_text_is_a_near_duplicate(tmp_path: Path) -> None:
    first = (
        "话说天下大势分久必合合久必分周末七国分争并入于秦及秦灭之后楚汉分争又并入于汉汉朝自高祖斩白蛇而起义一统天下" * 2
    )
    made = [
        first,
        first[:60] + "啊" + first[60:],
        "另一篇完全不同的文章，讲的是厨房里的事情，与前面毫无关系，也没有相同的句子。",
    ]
    assert found_in(made, NEAR, tmp_path) == {1: "near duplicate"}


def test_texts_without_words_are_no_near_duplicates(tmp_path: Path) -> None:
    assert found_in(["—— ……", "!!! ???", "***"], NEAR, tmp_path) == {}


def test_signatures_estimate_the_share_of_common_runs() -> None:
    made = texts(3, 60)
    errors = []
    for first, second in pairwise(made):
        own = [signature(grams(words_of(text), 2), 512) for text in (first, second)]
        errors.append(float((own[0] == own[1]).mean()) - jaccard(first, second, 2))
    assert abs(np.mean(errors)) < 0.01
    assert np.abs(errors).max() < 0.12


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_bands_find_nearly_every_pair(similarity: float) -> None:
    settings = DeduplicateSettings(kind="near", similarity=similarity)
    size = band_size(settings)
    bands = settings.hashes // size
    assert 1 - (1 - similarity**size) ** bands >= 0.99
    assert size == 1 or 1 - (1 - (similarity - 0.3) ** size) ** bands < 0.95


def test_a_run_is_a_number_of_its_own() -> None:
    assert grams(["a", "b", "c"], 2).tolist() == grams(["a", "b"], 2).tolist() + grams(["b", "c"], 2).tolist()
    assert grams(["a", "b"], 2)[0] != grams(["b", "a"], 2)[0]
    assert len(grams([], 3)) == 0
    assert len(grams(["a", "b"], 5)) == 1
