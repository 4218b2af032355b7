import threading
import time

import numpy as np
import pytest
import torch

from danlu.data.batch import Batch
from danlu.data.corpus import Corpus
from danlu.data.corruption import CorruptionSettings, Words, corruption, pack
from danlu.data.loader import Loader
from danlu.errors import DanluError

WORDS = Words(500, {"pad": 0, "start": 1, "separator": 2, "mask": 3})


def loader(tokens: int = 1000, batch: int = 4, kind: str = "mask", **given: object) -> Loader:
    random = np.random.default_rng(0)
    documents = [random.integers(5, 500, size=25).tolist() for _ in range(tokens // 25)]
    settings = CorruptionSettings(kind=kind)
    rows = pack(Corpus.of(documents), 16, settings, WORDS)
    return Loader(rows, corruption(settings, WORDS), batch, **{"seed": 1, **given})


def equal(one: Batch, two: Batch) -> bool:
    same = [torch.equal(one.inputs[name], two.inputs[name]) for name in one.inputs]
    return (
        all(same)
        and one.inputs.keys() == two.inputs.keys()
        and torch.equal(one.targets["tokens"], two.targets["tokens"])
    )


@pytest.mark.parametrize("kind", ["mask", "shift"])
@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_batches_are_the_same_whatever_is_prefetched(kind: str, ahead: int) -> None:
    plain = loader(kind=kind)
    expected = [plain.batch(step) for step in range(30)]
    assert all(map(equal, expected, loader(kind=kind).stream(0, 30, ahead)))
    assert all(map(equal, expected[17:], loader(kind=kind).stream(17, 30, ahead))), "resumed in the middle"


def test_each_row_once_an_epoch_and_batches_always_full() -> None:
    given = loader(tokens=1025, batch=7)
    total = len(given.rows)
    assert total % 7, "the test wants an epoch that ends inside a batch"
    numbers = [given.samples(step) for step in range(3 * total)]
    epochs, rows = (np.concatenate(part) for part in zip(*numbers, strict=True))
    assert all(len(part) == 7 for part, _ in numbers)
    for epoch in range(21):
        assert np.array_equal(np.sort(rows[epochs == epoch]), np.arange(total))
    assert not np.array_equal(rows[:total], rows[total : 2 * total]), "another order in another epoch"
    assert given.steps_per_epoch == -(-total // 7)


def test_a_corpus_smaller_than_a_batch() -> None:
    given = loader(tokens=50, batch=64)
    assert len(given.rows) < 64
    batch = given.batch(0)
    assert batch.rows == 64
    assert given.steps_per_epoch == 1
    texts = {tuple(row) for row in batch.inputs["tokens"].tolist()}
    assert len(texts) > len(given.rows), "each time it comes, a row is masked anew"


def test_seeds_differ() -> None:
    assert not equal(loader(seed=1).batch(0), loader(seed=2).batch(0))


def test_evaluation_sees_each_row_once_in_order() -> None:
    given = loader(batch=7, shuffle=False)
    seen = np.concatenate([given.samples(step)[1] for step in range(given.steps_per_epoch)])
    assert np.array_equal(seen, np.arange(len(given.rows)))
    assert equal(given.batch(1), given.batch(1 + given.steps_per_epoch))


def test_too_little_text_is_refused_for_training_only() -> None:
    with pytest.raises(DanluError, match="E1220") as caught:
        Loader(
            pack(Corpus.of([[5, 6]]), 16, CorruptionSettings(), WORDS), corruption(CorruptionSettings(), WORDS), 4, 0
        )
    assert "data.length" in caught.value.render("en")
    small = pack(Corpus.of([[5, 6]]), 16, CorruptionSettings(), WORDS)
    assert Loader(small, corruption(CorruptionSettings(), WORDS), 4, 0, shuffle=False).batch(0).rows == 1
    with pytest.raises(DanluError, match="E1220"):
        Loader(
            pack(Corpus.of([]), 16, CorruptionSettings(), WORDS), corruption(CorruptionSettings(), WORDS), 4, 0, False
        )


def test_errors_of_the_thread_reach_the_reader() -> None:
    given = loader()

    def broken(*_: object) -> Batch:
        raise DanluError("E1211", where="x")

    given.corruption = broken
    with pytest.raises(DanluError, match="E1211"):
        next(given.stream())


def test_leaving_a_stream_ends_its_thread() -> None:
    stream = loader().stream()
    next(stream)
    stream.close()
    deadline = time.monotonic() + 5
    while any(thread.name == "danlu-loader" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
