"""Spans, infilling, mixtures: statistics, reconstruction, shapes."""

import numpy as np
import pytest
from given import END, MASK, PAD, SENTINELS, START, STOP, T5, WORDS, documents, made, pairs_of

from danlu.data.batch import IGNORED
from danlu.data.corruption import Words
from danlu.data.corruption.spans import DENOISERS
from danlu.errors import DanluError


def restored(source: list[int], answer: list[int]) -> list[int]:
    """The text again: each sentinel of the source gives way to what the answer says for it."""
    spans: dict[int, list[int]] = {}
    for token in answer:
        if token in SENTINELS:
            spans[token] = []
        elif token != END:
            spans[next(reversed(spans))].append(token)
    return [each for token in source for each in spans.get(token, [token])]


def framed(texts: list[list[int]], frame: tuple[int, ...]) -> list[int]:
    return [token for text in texts for token in text if token not in frame]


@pytest.mark.parametrize("kind", ["spans", "mixture"])
@pytest.mark.parametrize("longest", [3, 40, 400])
def test_source_and_answer_give_the_text_again(kind: str, longest: int) -> None:
    texts = documents(100, longest)
    _, _, batch = made(kind, texts, 64, T5)
    again = [restored(source, answer) for source, _, answer in pairs_of(batch)]
    assert framed(again, (END, PAD)) == [token for text in texts for token in text]


def test_t5_statistics_over_a_million_tokens() -> None:
    _, _, batch = made("spans", documents(100, 22_000, shortest=2000), 512, T5)
    noise = spans = kept = 0
    for source, given, answer in pairs_of(batch):
        marks = [token for token in source if token in SENTINELS]
        assert marks == [token for token in answer if token in SENTINELS] == list(SENTINELS[: len(marks)])
        assert source[-1] == answer[-1] == END
        assert given == [PAD, *answer[:-1]]
        spans += len(marks)
        noise += len(answer) - len(marks) - 1
        kept += len(source) - len(marks) - 1
    assert noise + kept > 1_000_000
    assert noise / (noise + kept) == pytest.approx(0.15, abs=0.001)
    assert noise / spans == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("length", [16, 64, 512])
def test_t5_rows_are_full(length: int) -> None:
    rows, _, batch = made("spans", documents(3, 20_000, shortest=10_000), length, T5)
    source = batch.inputs["source"]
    whole = [row for row in source.tolist() if row.count(END) == 1][:-1]
    assert len(whole) > 10
    assert {len([token for token in row if token != PAD]) for row in whole} <= {length, length - 1}
    assert rows.length > length


def test_spans_are_anywhere_and_of_any_length() -> None:
    _, _, batch = made("spans", documents(50, 5000, shortest=4000), 128, T5)
    lengths, places = [], []
    for source, _, answer in pairs_of(batch):
        places += [place / len(source) for place, token in enumerate(source) if token in SENTINELS]
        marks = [place for place, token in enumerate(answer) if token in SENTINELS or token == END]
        lengths += (np.diff(marks) - 1).tolist()
    counts = np.bincount(lengths)
    assert counts[0] == 0
    assert (counts[1:7] > 0).all()
    assert np.histogram(places, 5, (0, 1))[0].min() > 0.1 * len(places)


def test_options_of_spans() -> None:
    texts = documents(20, 5000, shortest=4000)
    for share, mean in ((0.5, 3.0), (0.15, 8.0)):
        found = pairs_of(made("spans", texts, 256, T5, share=share, mean=mean)[2])[:-1]
        marks = sum(token in SENTINELS for source, _, _ in found for token in source)
        noise = sum(len(answer) - 1 for _, _, answer in found) - marks
        whole = noise + sum(len(source) - 1 for source, _, _ in found) - marks
        assert noise / whole == pytest.approx(share, rel=0.05)
        assert noise / marks == pytest.approx(mean, rel=0.1)


def test_bart_statistics_over_a_million_tokens() -> None:
    rows, packed, batch = made("infill", documents(120, 22_000, shortest=1000), 256)
    assert rows.length == 256
    tokens = int((packed.valid & ~WORDS.is_special[packed.tokens]).sum())
    source = batch.inputs["source"].numpy()
    masks = int((source == MASK).sum())
    kept = int((~WORDS.is_special[source]).sum())
    assert tokens > 1_000_000
    assert (tokens - kept) / tokens == pytest.approx(0.3, abs=0.005)
    assert (tokens - kept) / masks == pytest.approx(3, abs=0.05)


def test_bart_answers_with_the_text_itself() -> None:
    texts = documents(80, 120)
    _, packed, batch = made("infill", texts, 64)
    found = pairs_of(batch)
    assert framed([answer for _, _, answer in found], (START, END)) == [token for text in texts for token in text]
    for source, given, answer in found:
        assert given == [WORDS.opening, *answer[:-1]]
        assert answer[0] == source[0] == START
        assert answer[-1] == source[-1] == END
    assert batch.inputs["source"].shape[1] <= packed.tokens.shape[1] + 8


def test_infill_alone_keeps_the_order() -> None:
    for source, _, answer in pairs_of(made("infill", documents(50, 200), 128, permute=False)[2]):
        kept = iter(answer)
        assert all(token in kept for token in source if token != MASK), "a subsequence"


def test_zero_length_spans_insert_masks() -> None:
    found = pairs_of(made("infill", documents(300, 60, shortest=40), 64, permute=False, share=0.05, mean=1.0)[2])
    inserted = [source for source, _, answer in found if len(source) > len(answer)]
    assert inserted
    assert all(MASK in source for source in inserted)


def test_no_text_outgrows_its_row() -> None:
    texts = documents(400, 40)
    for length in (8, 16):
        for source, _, _ in pairs_of(made("infill", texts, length, mean=1.0, share=0.9)[2]):
            assert len(source) <= length


def sentences(text: list[int]) -> list[tuple[int, ...]]:
    found: list[list[int]] = [[]]
    for token in text:
        found[-1].append(token)
        if token == STOP:
            found.append([])
    return [tuple(each) for each in found if each]


def test_sentences_are_shuffled_whole() -> None:
    random = np.random.default_rng(0)
    texts = [[token for _ in range(6) for token in [*random.integers(21, 900, 4).tolist(), STOP]] for _ in range(200)]
    found = pairs_of(made("infill", texts, 32, share=1e-9)[2])
    moved = 0
    for source, _, answer in found:
        assert sorted(sentences(source[1:-1])) == sorted(sentences(answer[1:-1]))
        moved += source != answer
    assert moved > 0.9 * len(found)


def test_rotation_and_deletion() -> None:
    texts = documents(100, 60, shortest=30)
    found = pairs_of(made("infill", texts, 64, share=1e-9, permute=False, rotate=1.0)[2])
    assert sum(source != answer for source, _, answer in found) > 0.9 * len(found)
    for source, _, answer in found:
        body = answer[1:-1]
        assert source[1:-1] in [body[pivot:] + body[:pivot] for pivot in range(len(body))]
    found = pairs_of(made("infill", texts, 64, share=1e-9, permute=False, delete=0.2)[2])
    left = sum(len(source) - 2 for source, _, _ in found) / sum(len(answer) - 2 for _, _, answer in found)
    assert left == pytest.approx(0.8, abs=0.03)


def test_the_mixture_announces_its_modes() -> None:
    words = Words(1000, dict(T5.special) | {"regular": 8, "extreme": 9, "sequential": 10}, SENTINELS)
    found = pairs_of(made("mixture", documents(2000, 120, shortest=100), 128, words)[2])
    modes = [source[0] for source, _, _ in found]
    for role, code in (("regular", 8), ("extreme", 9), ("sequential", 10)):
        expected = sum(each.mode == role for each in DENOISERS) / len(DENOISERS)
        assert modes.count(code) / len(modes) == pytest.approx(expected, abs=0.04)
    for source, _, answer in found:
        if source[0] == 10 and len(answer) > 2:
            assert source[-2] == SENTINELS[0], "the rest of the text is asked for"
            assert sum(token in SENTINELS for token in source) == 1


@pytest.mark.parametrize("kind", ["spans", "infill", "mixture", "middle", "prefix"])
def test_a_sample_is_the_same_in_any_company_and_new_in_each_epoch(kind: str) -> None:
    texts = documents(100, 200)
    name = "source" if kind in ("spans", "infill", "mixture") else "tokens"

    def rows(**given: object) -> list[list[int]]:
        batch = made(kind, texts, 64, **given)[2]
        part = batch.inputs[name] if kind != "prefix" else batch.targets["tokens"]
        return [[token for token in row if token not in (PAD, IGNORED)] for row in part.tolist()]

    whole = rows()
    assert rows(some=[13, 2, 40]) == [whole[13], whole[2], whole[40]]
    assert rows() == whole
    assert rows(epoch=1) != whole
    assert rows(seed=1) != whole


def test_what_the_tokenizer_lacks_is_refused() -> None:
    with pytest.raises(DanluError, match="E1222"):
        made("spans", documents(5, 50), 16, Words(100, {"end": 1}))
    with pytest.raises(DanluError, match="E1222"):
        made("infill", documents(5, 50), 16, T5)
    with pytest.raises(DanluError, match="E1222"):
        made("middle", documents(5, 50), 16, T5)
