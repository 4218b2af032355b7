"""Whole words, stretches, pairs, translations."""

import numpy as np
import pytest
from given import END, MASK, SENTINELS, SPECIAL, START, STOP, WORDS, documents, made

from danlu.data.batch import IGNORED
from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.corruption.mask import whole_chinese_words, whole_words
from danlu.data.mixing import MixedRows, shares
from danlu.data.order import Chance
from danlu.data.packing import Packed
from danlu.errors import DanluError

WORDPIECE = ["[PAD]", "[SEP]", "[UNK]", "[CLS]", "[MASK]", "play", "##ing", "##s", "!", "我", "爱", "北", "京"]
BYTES = ["<pad>", "</s>", "<unk>", "<s>", "<mask>", " play", "ing", "s", "!", "我", "爱", "北京", "<0xE4>", "\n"]


def words_of(texts: list[str]) -> Words:
    return Words(len(texts), {"pad": 0, "end": 1, "start": 3, "mask": 4}, pieces=lambda ids: [texts[i] for i in ids])


def row(*tokens: int) -> Packed:
    array = np.array([tokens])
    return Packed(array, np.zeros_like(array), np.ones(array.shape, bool))


def test_pieces_of_a_word_belong_together() -> None:
    assert whole_words(row(3, 5, 6, 7, 8, 5, 9, 10, 1), words_of(WORDPIECE)).tolist() == [[0, 1, 1, 1, 2, 3, 4, 5, 6]]
    found = whole_words(row(3, 5, 6, 7, 8, 7, 9, 11, 12, 12, 13, 6), words_of(BYTES))
    assert found.tolist() == [[0, 1, 1, 1, 2, 3, 4, 5, 6, 6, 7, 8]]


def test_chinese_is_cut_into_real_words() -> None:
    pytest.importorskip("jieba")
    assert whole_chinese_words(row(3, 9, 10, 11, 12, 1), words_of(WORDPIECE)).tolist() == [[0, 1, 2, 3, 3, 4]]
    assert whole_chinese_words(row(9, 10, 11, 8, 5, 6), words_of(BYTES)).tolist() == [[0, 1, 2, 3, 4, 4]]


@pytest.mark.parametrize("unit", ["token", "word"])
@pytest.mark.parametrize("stretch", ["single", "geometric", "ngram"])
def test_statistics_of_masks_over_a_million_tokens(unit: str, stretch: str) -> None:
    random = np.random.default_rng(0)
    texts = [random.integers(20, 900, 4000).tolist() for _ in range(260)]
    continued = Words(1000, SPECIAL, SENTINELS, pieces=lambda ids: [f"##{i}" if i % 3 == 0 else f"{i}" for i in ids])
    _, packed, batch = made("mask", texts, 256, continued, unit=unit, stretch=stretch)
    before, after, targets = packed.tokens, batch.inputs["tokens"].numpy(), batch.targets["tokens"].numpy()
    body = packed.valid & ~WORDS.is_special[before]
    assert body.sum() > 1_000_000
    chosen = targets != IGNORED
    # Longer things are chosen more rarely, so that their share is known less exactly from as many tokens.
    assert chosen.sum() / body.sum() == pytest.approx(0.15, abs=0.001 if stretch == "single" else 0.0025)
    masked, kept = (after == MASK)[chosen].mean(), (after == before)[chosen].mean()
    wide = 0.003 if stretch == "single" else 0.01
    assert masked == pytest.approx(0.8, abs=wide)
    assert kept == pytest.approx(0.1, abs=wide)
    assert np.array_equal(np.where(chosen, targets, after), before)
    if unit == "word":
        goes_on = body[:, 1:] & (before[:, 1:] % 3 == 0) & body[:, :-1]
        assert (chosen[:, 1:] == chosen[:, :-1])[goes_on].all(), "no word is masked in part"


@pytest.mark.parametrize(("stretch", "mean"), [("single", 1.0), ("geometric", 3.8), ("ngram", 1.64)])
def test_stretches_are_as_long_as_the_papers_say(stretch: str, mean: float) -> None:
    texts = [np.random.default_rng(0).integers(20, 900, 250_000).tolist()]
    _, _, batch = made("mask", texts, 512, stretch=stretch, share=0.005)  # so few that they hardly touch
    chosen = (batch.targets["tokens"] != IGNORED).numpy()[:, 12:-12]
    runs = (np.diff(chosen.astype(int), axis=1) == 1).sum() + chosen[:, 0].sum()
    assert chosen.sum() / runs == pytest.approx(mean, rel=0.1)


def test_a_stretch_has_one_fate() -> None:
    texts = [np.random.default_rng(0).integers(20, 900, 50_000).tolist()]
    _, packed, batch = made("mask", texts, 512, stretch="geometric")
    hidden = (batch.inputs["tokens"] == MASK).numpy()
    chosen = (batch.targets["tokens"] != IGNORED).numpy()
    beside = chosen[:, 1:] & chosen[:, :-1]
    assert (hidden[:, 1:] == hidden[:, :-1])[beside].all()
    assert packed.tokens.shape == hidden.shape


def halves(tokens: list[int], segments: list[int]) -> tuple[list[int], list[int]]:
    body = [(token, segment) for token, segment in zip(tokens, segments, strict=True) if token not in (START, END, 0)]
    return [token for token, segment in body if not segment], [token for token, segment in body if segment]


@pytest.mark.parametrize("pairs", ["next", "order"])
def test_pairs(pairs: str) -> None:
    # Every text counts on by one, so that what follows what can be seen.
    texts = [[20 + (start + step) % 800 for step in range(200)] for start in range(0, 800, 7)]
    rows, _, batch = made("plain", texts, 64, pairs=pairs)
    tokens, segments = batch.inputs["tokens"].tolist(), batch.inputs["segments"].tolist()
    marks, answers = batch.inputs["documents"].tolist(), batch.targets["pairs"].tolist()
    seen = [0, 0]
    for line in zip(tokens, segments, marks, answers, strict=True):
        for document in range(max(line[2]) + 1):
            text = [each for each in zip(*line, strict=True) if each[2] == document]
            own, sides, _, asked = (list(part) for part in zip(*text, strict=True))
            first, second = halves(own, sides)
            if not second:
                assert set(asked) == {IGNORED}
                continue
            assert own[0] == START
            assert own[len(first) + 1] == own[-1] == END
            assert sides == [0] * (len(first) + 2) + [1] * (len(second) + 1)
            assert set(asked[1:]) == {IGNORED}
            seen[asked[0]] += 1
            follows = (second[0] - first[-1]) % 800 == 1
            swapped = (first[0] - second[-1]) % 800 == 1
            if asked[0] == 0:
                assert follows
            else:
                assert not follows or pairs == "next"
                assert pairs == "next" or swapped
    assert seen[1] / sum(seen) == pytest.approx(0.5, abs=0.06)
    assert rows.length == 64


def test_pairs_lose_no_text_and_mask_as_well() -> None:
    texts = documents(50, 200)
    rows, packed, batch = made("mask", texts, 64, pairs="order")
    ordinary = packed.tokens[packed.valid & ~WORDS.is_special[packed.tokens]]
    assert sorted(ordinary.tolist()) == sorted(token for text in texts for token in text)
    assert (batch.targets["tokens"] != IGNORED).float().mean() == pytest.approx(0.15, abs=0.03)
    assert set(batch.targets) == {"tokens", "pairs"}
    straight = rows.take(np.arange(len(rows)))
    assert not (straight.pairs == 1).any(), "without chance every pair is right"


def test_pairs_are_cut_behind_a_sentence() -> None:
    texts = [[21, 22, 23, 24, 25, STOP, 27, 28, 29, 30, 31]] * 30
    _, _, batch = made("plain", texts, 14, pairs="order")
    columns = (batch.inputs["tokens"], batch.inputs["segments"], batch.targets["pairs"])
    for tokens, segments, answer in zip(*(column.tolist() for column in columns), strict=True):
        first, second = halves(tokens, segments)
        assert (second if answer[0] else first)[-1] == STOP


def test_a_sample_of_pairs_is_the_same_in_any_company() -> None:
    texts = documents(100, 200)
    whole = made("mask", texts, 64, pairs="next")[2]
    some = made("mask", texts, 64, pairs="next", some=[13, 2])[2]
    for group in ("inputs", "targets"):
        for name, tensor in getattr(some, group).items():
            assert tensor.tolist() == getattr(whole, group)[name][[13, 2]].tolist()
    other = made("mask", texts, 64, pairs="next", epoch=1)[2]
    assert other.targets["pairs"].tolist() != whole.targets["pairs"].tolist()


def test_pairs_go_with_encoders_only() -> None:
    with pytest.raises(DanluError, match="E1225"):
        corruption(CorruptionSettings(kind="shift", pairs="next"), WORDS)


def test_translations_have_sides_and_positions_of_their_own() -> None:
    texts = [[30, 31, 32, END, 40, 41], [50, END, 60, 61]]
    rows = pack(Corpus.of(texts), 16, CorruptionSettings(kind="translation"), WORDS)
    chance = Chance(0, np.zeros(1, int), np.zeros(1, int))
    packed = rows.take([0])
    batch = corruption(CorruptionSettings(kind="translation", sides=True), WORDS)(packed, chance)
    assert batch.inputs["positions"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]]
    assert batch.inputs["segments"].tolist() == [[0] * 5 + [1] * 3 + [0] * 3 + [1] * 3 + [0] * 2]
    assert batch.inputs["documents"][0, :8].unique().tolist() == [0], "the sides see each other"


def test_languages_are_drawn_by_their_exponent() -> None:
    sizes = [800, 150, 50]
    powers = [size**0.7 for size in sizes]
    assert shares(sizes, 0.7) == pytest.approx([power / sum(powers) for power in powers])
    assert shares(sizes, 1.0) == pytest.approx([0.8, 0.15, 0.05])
    assert shares(sizes, 0.0) == pytest.approx([1 / 3] * 3)
    settings = CorruptionSettings(kind="mask")
    languages = [
        pack(Corpus.of([[code + place % 7 for place in range(30)] for _ in range(size)]), 32, settings, WORDS)
        for size, code in zip(sizes, (100, 200, 300), strict=True)
    ]
    wanted = shares([len(rows) for rows in languages], 0.5)
    mixed = MixedRows(languages, wanted)
    numbers = np.random.default_rng(0).permutation(len(mixed))
    seen = set()
    for epoch in range(3):
        found = mixed.take(numbers, Chance(0, np.full(len(numbers), epoch), numbers))
        language = found.tokens[:, 1] // 100
        for code, share in zip((1, 2, 3), wanted, strict=True):
            assert (language == code).mean() == pytest.approx(share, abs=0.01)
        again = mixed.take(numbers[:5], Chance(0, np.full(5, epoch), numbers[:5]))
        assert np.array_equal(again.tokens, found.tokens[:5])
        seen |= {tuple(each) for each in found.tokens.tolist()}
    assert len(seen) >= 3
