"""Sources in their proportions, over a million tokens; languages told; every row again and again, evenly."""

from dataclasses import replace

import numpy as np
import pytest

from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.loader import Loader
from danlu.data.mixing import MixedRows, drawn, portions, shares
from danlu.data.packing import Frame, Rows, masked_frame
from danlu.data.turns import Course, Turns
from danlu.errors import DanluError

LENGTH = 128
SIZES = {"en": 600_000, "de": 90_000, "fr": 30_000, "sw": 6_000}
FIRST = {"en": 1000, "de": 2000, "fr": 3000, "sw": 4000}  # the tokens of each language are its own
WORDS = Words(5000, {"pad": 0, "start": 1, "separator": 2, "end": 2, "mask": 3}, languages=("de", "en", "fr", "sw"))


def corpora(weights: dict[str, float] | None = None) -> list[Corpus]:
    made = []
    for name, size in SIZES.items():
        tokens = FIRST[name] + np.arange(size) % 900
        one = Corpus.of([part.tolist() for part in np.array_split(tokens, size // 50)])
        made.append(replace(one, name=name, languages=(name,), weight=(weights or {}).get(name)))
    return made


def counted(corpus: Corpus, steps: int, batch: int = 64) -> dict[str, float]:
    """The share of each language in what is trained on, over `steps` batches."""
    settings = CorruptionSettings(kind="mask")
    loader = Loader(pack(corpus, LENGTH, settings, WORDS), corruption(settings, WORDS), batch, seed=5)
    tokens = np.concatenate([loader.batch(step).inputs["languages"].numpy().ravel() for step in range(steps)])
    return {name: float((tokens == WORDS.languages.index(name)).mean()) for name in SIZES}


@pytest.mark.parametrize("exponent", [1.0, 0.7, 0.3, 0.0])
def test_proportions_over_a_million_tokens(exponent: float) -> None:
    found = counted(Corpus.joined(corpora(), exponent), steps=130)  # 1.06 million tokens
    power = {name: (size / sum(SIZES.values())) ** exponent for name, size in SIZES.items()}
    for name, share in found.items():
        assert abs(share - power[name] / sum(power.values())) < 0.01


def test_weights_are_the_proportions() -> None:
    weights = {"en": 1.0, "de": 2.0, "fr": 0.0, "sw": 1.0}
    found = counted(Corpus.joined(corpora(weights), 0.7), steps=130)
    assert found["fr"] == 0
    for name, weight in weights.items():
        assert abs(found[name] - weight / 4) < 0.01


def test_a_token_is_told_its_own_language() -> None:
    settings = CorruptionSettings(kind="plain")
    loader = Loader(pack(Corpus.joined(corpora()), LENGTH, settings, WORDS), corruption(settings, WORDS), 32, seed=1)
    batch = loader.batch(3)
    tokens, languages = batch.inputs["tokens"].numpy(), batch.inputs["languages"].numpy()
    for name, first in FIRST.items():
        here = (tokens >= first) & (tokens < first + 900)
        assert (languages[here] == WORDS.languages.index(name)).all()


def test_no_language_is_told_to_a_model_without_any() -> None:
    words = Words(5000, WORDS.special)
    packed = pack(Corpus.joined(corpora()), LENGTH, CorruptionSettings(kind="mask"), words).take([0, 1])
    assert packed.languages is None


def test_an_unknown_language_is_refused() -> None:
    words = Words(5000, WORDS.special, languages=("de", "en", "fr", "sv"))
    with pytest.raises(DanluError, match="E1227") as raised:
        pack(Corpus.joined(corpora()), LENGTH, CorruptionSettings(kind="mask"), words)
    assert "possible: de, en, fr, sv" in raised.value.render("en")


def test_every_row_of_a_source_comes_equally_often() -> None:
    mixed = MixedRows([Rows(each, LENGTH, _frame()) for each in corpora()], [0.25] * 4)
    small = mixed.sources[3]
    first = mixed.bounds[3]
    seen = [
        (np.arange(first, mixed.bounds[4]) - first + epoch * (mixed.bounds[4] - first)) % len(small) for epoch in (0, 1)
    ]
    counts = np.bincount(np.concatenate(seen), minlength=len(small))
    assert counts.max() - counts.min() <= 1


def test_what_was_drawn_is_what_was_seen() -> None:
    settings = CorruptionSettings(kind="mask")
    rows = pack(Corpus.joined(corpora(), 0.5), LENGTH, settings, WORDS)
    loader = Loader(rows, corruption(settings, WORDS), 48, seed=2)
    names = [name for step in range(37) for name in rows.origins(loader.samples(step)[1])]
    found = {each.name: each for each in loader.drawn(37)}
    for name in SIZES:
        assert found[name].tokens == names.count(name) * LENGTH
    assert found["sw"].epochs > found["en"].epochs
    assert sum(each.tokens for each in found.values()) == 37 * 48 * LENGTH


def test_turns_and_courses_count_what_was_drawn() -> None:
    settings = CorruptionSettings(kind="mask")
    joined = Corpus.joined(corpora())
    made = {
        length: Loader(pack(joined, length, settings, WORDS), corruption(settings, WORDS), 8, seed=2)
        for length in (32, 64)
    }
    course = Course([(5, made[32])], made[64])
    assert sum(each.tokens for each in course.drawn(9)) == 5 * 8 * 32 + 4 * 8 * 64
    turns = Turns({"a": made[32], "b": made[64]}, {"a": 2.0, "b": 1.0})
    found = turns.drawn(10)
    steps = [turns.whose(step)[0] for step in range(10)]
    for name, length in (("a", 32), ("b", 64)):
        assert sum(each.tokens for each in found if each.turn == name) == steps.count(name) * 8 * length


def test_one_source_is_drawn_too() -> None:
    rows = Rows(corpora()[0], LENGTH, _frame())
    assert drawn(rows, 0, 10)[0].tokens == 10 * LENGTH


def test_weights_come_before_sizes() -> None:
    assert portions(corpora({"en": 3.0}), 0.7).tolist() == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])
    assert portions(corpora(), 1.0).tolist() == pytest.approx(shares(list(SIZES.values()), 1.0).tolist())


def _frame() -> Frame:
    return masked_frame(WORDS.special)
