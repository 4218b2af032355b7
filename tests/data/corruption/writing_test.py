"""Prefixes and middles."""

import numpy as np
import pytest
from given import END, PAD, WORDS, documents, made

from danlu.data.batch import IGNORED
from danlu.data.corruption import Words

PLAIN = Words(1000, {"end": END, "pad": PAD, "before": 5, "after": 6, "between": 7})


def test_a_prefix_sees_itself_and_is_not_asked_for() -> None:
    _, packed, batch = made("prefix", documents(60, 100), 64)
    steps, targets = batch.inputs["steps"].numpy(), batch.targets["tokens"].numpy()
    documents_of = batch.inputs["documents"].numpy()
    shares = []
    for row in range(len(steps)):
        for document in range(documents_of[row].max() + 1):
            here = np.flatnonzero(documents_of[row] == document)
            own, asked = steps[row, here], targets[row, here] != IGNORED
            pivot = int((own == 0).sum()) - 1
            assert own.tolist() == [0] * (pivot + 1) + list(range(1, len(here) - pivot))
            assert not asked[:pivot].any()
            assert asked[pivot:-1].all()
            if len(here) > 20:
                shares.append(pivot / len(here))
    assert np.mean(shares) == pytest.approx(0.5, abs=0.1)
    asked = targets != IGNORED
    assert (targets == packed.tokens[:, 1:])[asked].all()


@pytest.mark.parametrize(("first", "sign"), [(0.0, "psm"), (1.0, "spm")])
def test_the_text_can_be_put_together_again(first: float, sign: str) -> None:
    texts = documents(200, 60)
    _, packed, batch = made("middle", texts, 70, PLAIN, middle=1.0, suffix_first=first)
    last = batch.targets["tokens"][:, -1].tolist()
    lines = zip(batch.inputs["tokens"].tolist(), batch.inputs["documents"].tolist(), last, strict=True)
    again: list[int] = []
    for tokens, marks, final in lines:
        for document in range(max(marks) + 1):
            text = [token for token, mark in zip(tokens, marks, strict=True) if mark == document and token != END]
            if document == marks[-1] and final not in (IGNORED, END):
                text.append(final)  # the row's last token is an answer only
            before, after, between = (text.index(code) for code in (5, 6, 7))
            if sign == "psm":
                assert before == 0 < after < between
                found = text[1:after] + text[between + 1 :] + text[after + 1 : between]
            else:
                assert (before, after) == (0, 1)
                found = text[between + 1 :] + text[2:between]
            again += found
    left = [token for text in texts for token in text]
    if sign == "psm":
        assert again == left
    else:
        assert sorted(again) == sorted(left)
    assert packed.tokens.shape[1] == batch.inputs["tokens"].shape[1] + 1 == 71


def test_half_of_the_texts_are_cut() -> None:
    _, packed, batch = made("middle", documents(2000, 60, shortest=50), 64, PLAIN)
    tokens = batch.inputs["tokens"]
    texts = int((batch.inputs["documents"].max(1).values + 1).sum())
    assert (tokens == 5).sum() / texts == pytest.approx(0.5, abs=0.04)
    assert packed.tokens.shape[1] == 65


def test_the_vocabulary_tells_its_markers() -> None:
    class Published:
        vocabulary, special, sentinels = 10, {"end": 1}, ()
        prefix, suffix = (), (1,)

        def id(self, token: str) -> int | None:
            return {"<fim_prefix>": 7, "<|fim_prefix|>": 8, "<fim_suffix>": 6}.get(token)

        def pieces(self, ids: object) -> list[str]:
            return ["x"] * 10

    found = Words.of(Published(), "end")
    assert found.special == {"before": 8, "after": 6, "end": 1}
    assert found.opening == 1
    assert (found.frame.prefix, found.frame.suffix) == ((), (1,))
    assert WORDS.opening == PAD
