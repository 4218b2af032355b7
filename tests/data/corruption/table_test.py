import numpy as np
import pytest
import torch
from pydantic import ValidationError

from danlu.data.batch import IGNORED
from danlu.data.corpus import Corpus
from danlu.data.corruption import Chance, CorruptionSettings, Words, corruption, kind_of, mask_tokens, pack, shift
from danlu.data.packing import PADDING, Packed
from danlu.errors import DanluError

WORDS = Words(1000, {"pad": 0, "start": 1, "separator": 2, "mask": 3, "unknown": 4})
GPT = Words(1000, {"end": 0})


def rows(count: int, width: int, seed: int = 0) -> Packed:
    """Ordinary tokens with specials among them, the last place of every row padding."""
    random = np.random.default_rng(seed)
    tokens = random.integers(5, 1000, size=(count, width))
    tokens[:, 0], tokens[:, -2] = 1, 2
    tokens[random.random(tokens.shape) < 0.02] = 4
    documents = np.zeros_like(tokens)
    tokens[:, -1], documents[:, -1] = 0, PADDING
    return Packed(tokens, documents, documents != PADDING)


def chance(count: int, seed: int = 0, epoch: int = 0) -> Chance:
    return Chance(seed, np.full(count, epoch), np.arange(count))


def test_masking_statistics_over_a_million_tokens() -> None:
    given, settings = rows(4000, 260), CorruptionSettings()
    batch = mask_tokens(given, chance(4000), settings, WORDS)
    inputs, targets = batch.inputs["tokens"].numpy(), batch.targets["tokens"].numpy()
    open_to_choice = given.valid & (given.tokens >= 5)
    assert open_to_choice.sum() > 1_000_000
    chosen = targets != IGNORED
    assert abs(chosen.sum() / open_to_choice.sum() - 0.15) < 0.001
    hidden, kept = (inputs == 3)[chosen], (inputs == given.tokens)[chosen]
    replaced = ~hidden & ~kept
    # a replacement is the same word again once in 995 times, and then looks kept
    for share, expected in ((hidden, 0.8), (replaced, 0.1), (kept, 0.1)):
        assert abs(share.mean() - expected) < 0.003
    assert np.array_equal(targets[chosen], given.tokens[chosen])
    assert np.array_equal(inputs[~chosen], given.tokens[~chosen])
    assert not chosen[~open_to_choice].any(), "specials and padding are never chosen"
    drawn = inputs[chosen][replaced]
    assert drawn.min() >= 5, "specials are never drawn"
    assert len(np.unique(drawn)) > 990
    by_place = chosen[:, 1:-2].mean(axis=0)
    assert abs(by_place - by_place.mean()).max() < 0.03, "no place of a row is preferred"


@pytest.mark.parametrize(
    ("share", "mask", "replace"), [(0.4, 0.8, 0.1), (0.15, 1.0, 0.0), (0.3, 0.0, 0.5), (1.0, 0.0, 0.0)]
)
def test_every_share_has_its_effect(share: float, mask: float, replace: float) -> None:
    given = rows(500, 200)
    batch = mask_tokens(given, chance(500), CorruptionSettings(share=share, mask=mask, replace=replace), WORDS)
    inputs, chosen = batch.inputs["tokens"].numpy(), (batch.targets["tokens"] != IGNORED).numpy()
    assert abs(chosen.sum() / (given.valid & (given.tokens >= 5)).sum() - share) < 0.01
    assert abs((inputs == 3)[chosen].mean() - mask) < 0.01
    assert abs((inputs == given.tokens)[chosen].mean() - (1 - mask - replace)) < 0.01


def test_masks_are_anew_each_epoch_and_the_same_again() -> None:
    given = rows(50, 100)
    one, two, again = (mask_tokens(given, chance(50, epoch=epoch), CorruptionSettings(), WORDS) for epoch in (0, 1, 0))
    assert torch.equal(one.inputs["tokens"], again.inputs["tokens"])
    both = ((one.targets["tokens"] != IGNORED) & (two.targets["tokens"] != IGNORED)).float().mean()
    assert both < 0.03, "0.15 squared where the epochs do not know of each other"


def test_a_sample_is_corrupted_alike_in_any_company() -> None:
    given = rows(20, 64)
    whole = mask_tokens(given, chance(20), CorruptionSettings(), WORDS)
    pick = np.array([13, 2])
    some = mask_tokens(
        Packed(*(part[pick] for part in given[:3])), Chance(0, np.zeros(2, int), pick), CorruptionSettings(), WORDS
    )
    assert torch.equal(some.inputs["tokens"], whole.inputs["tokens"][pick])


def test_shift_asks_for_the_next_token_of_the_same_document() -> None:
    tokens = np.array([[0, 11, 12, 0, 21, 22, 23]])
    documents = np.array([[0, 0, 0, 1, 1, 1, 1]])
    batch = shift(Packed(tokens, documents, documents >= 0), chance(1), CorruptionSettings(kind="shift"), GPT)
    assert batch.inputs["tokens"].tolist() == [[0, 11, 12, 0, 21, 22]]
    assert batch.inputs["documents"].tolist() == [[0, 0, 0, 1, 1, 1]]
    assert batch.targets["tokens"].tolist() == [[11, 12, 0, 21, 22, 23]], "the end of text is asked for over the border"


def test_shift_does_not_ask_for_another_documents_start() -> None:
    words = Words(100, {"start": 1, "end": 2})
    rows_ = pack(Corpus.of([[11, 12], [21, 22]]), 8, CorruptionSettings(kind="shift"), words)
    batch = corruption(CorruptionSettings(kind="shift"), words)(rows_.take([0]), chance(1))
    assert batch.inputs["tokens"].tolist() == [[1, 11, 12, 2, 1, 21, 22, 2]]
    assert batch.targets["tokens"].tolist() == [[11, 12, 2, IGNORED, 21, 22, 2, IGNORED]]


def test_documents_go_along_only_where_needed() -> None:
    one = Packed(np.full((2, 8), 50), np.zeros((2, 8), int), np.ones((2, 8), bool))
    assert list(mask_tokens(one, chance(2), CorruptionSettings(), WORDS).inputs) == ["tokens"]
    two = Packed(one.tokens, np.array([[0] * 8, [0] * 7 + [PADDING]]), one.valid)
    assert list(mask_tokens(two, chance(2), CorruptionSettings(), WORDS).inputs) == ["tokens", "documents"]


def test_auto_follows_the_tokenizer() -> None:
    assert kind_of(CorruptionSettings(), WORDS) == "mask"
    assert kind_of(CorruptionSettings(), GPT) == "shift"
    assert kind_of(CorruptionSettings(kind="shift"), WORDS) == "shift"


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(DanluError, match="E1222"):
        corruption(CorruptionSettings(kind="mask"), GPT)
    with pytest.raises(DanluError, match="E1223"):
        corruption(CorruptionSettings(), Words(2, {"pad": 0, "mask": 1}))
    with pytest.raises(ValidationError, match="at most 1"):
        CorruptionSettings(mask=0.8, replace=0.3)
