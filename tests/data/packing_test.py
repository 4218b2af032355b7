import numpy as np
import pytest

from danlu.data.corpus import Corpus, Tokens
from danlu.data.packing import PADDING, Frame, Rows, causal_frame, masked_frame
from danlu.errors import DanluError

BERT = Frame((1,), (2,), every_fragment=True)
STREAMS = [Frame(), Frame(prefix=(9,)), Frame((1,), (2,)), Frame((1, 1), (2, 2, 2))]


def documents(seed: int, count: int, longest: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(10, 1000, size=random.integers(1, longest)).tolist() for _ in range(count)]


@pytest.mark.parametrize("longest", [3, 20, 500])
@pytest.mark.parametrize("length", [6, 16, 128])
@pytest.mark.parametrize("frame", STREAMS)
def test_a_stream_is_the_documents_and_nothing_else(frame: Frame, length: int, longest: int) -> None:
    given = documents(0, 60, longest)
    rows = Rows(Corpus.of(given), length, frame)
    packed = rows.take(np.arange(len(rows)))
    expected = [token for document in given for token in (*frame.prefix, *document, *frame.suffix)]
    assert packed.tokens[packed.valid].tolist() == expected
    assert packed.valid[:-1].all(), "only the last row may end early"
    assert rows.full == len(expected) // length


@pytest.mark.parametrize("longest", [3, 20, 500])
@pytest.mark.parametrize("length", [3, 5, 16, 128])
def test_fragments_are_framed_and_complete(length: int, longest: int) -> None:
    given = documents(1, 60, longest)
    rows = Rows(Corpus.of(given), length, BERT)
    text: list[int] = []
    for tokens, owners, valid in zip(*rows.take(np.arange(len(rows)))[:3], strict=True):
        assert np.array_equal(valid, owners != PADDING)
        for owner in range(owners.max() + 1):
            fragment = tokens[owners == owner].tolist()
            assert fragment[0] == 1
            assert fragment[-1] == 2
            assert len(fragment) > 2
            text += fragment[1:-1]
    assert text == [token for document in given for token in document]
    padding = (~rows.take(np.arange(len(rows) - 1)).valid).sum(axis=1)
    assert padding.max(initial=0) <= BERT.around


def test_rows_number_their_documents() -> None:
    rows = Rows(Corpus.of([[10, 11], [20], [30, 31, 32, 33]]), 8, Frame(prefix=(9,)))
    packed = rows.take([0, 1])
    assert packed.tokens.tolist() == [[9, 10, 11, 9, 20, 9, 30, 31], [32, 33, 0, 0, 0, 0, 0, 0]]
    assert packed.documents.tolist() == [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, *[PADDING] * 6]]


def test_rows_ahead_overlap_by_what_is_asked() -> None:
    given = documents(2, 40, 30)
    plain, ahead = (
        Rows(Corpus.of(given), 16, Frame(prefix=(9,))),
        Rows(Corpus.of(given), 16, Frame(prefix=(9,)), ahead=1),
    )
    some = np.arange(10)
    assert np.array_equal(ahead.take(some).tokens[:, :-1], plain.take(some).tokens)
    assert np.array_equal(ahead.take(some).tokens[:, -1], plain.take(some + 1).tokens[:, 0])


@pytest.mark.parametrize("frame", [*STREAMS, BERT])
def test_random_access(frame: Frame) -> None:
    rows = Rows(Corpus.of(documents(3, 50, 40)), 24, frame)
    whole = rows.take(np.arange(len(rows)))
    chosen = np.random.default_rng(0).permutation(len(rows))
    for all_rows, some in zip(whole[:3], rows.take(chosen)[:3], strict=True):
        assert np.array_equal(all_rows[chosen], some)


def test_tokens_are_read_over_the_borders_of_shards() -> None:
    flat = np.arange(1000, dtype=np.uint16)
    parts = Tokens((flat[:13], flat[13:13], flat[13:400], flat[400:]))
    places = np.random.default_rng(0).integers(1000, size=(20, 7))
    assert len(parts) == 1000
    assert np.array_equal(parts.take(places), places)


def test_frames_of_the_families() -> None:
    bert = {"pad": 0, "start": 101, "end": 102, "separator": 102, "mask": 103}
    gpt2, llama, qwen = {"start": 50256, "end": 50256}, {"start": 1, "end": 2, "unknown": 0}, {"end": 7, "pad": 8}
    assert masked_frame(bert) == Frame((101,), (102,), every_fragment=True, padding=0)
    assert causal_frame(gpt2) == Frame((50256,), padding=50256)
    assert causal_frame(llama) == Frame((1,), (2,), padding=2)
    assert causal_frame(qwen) == Frame((7,), padding=8)
    assert causal_frame({}) == Frame()


def test_no_room_beside_the_frame() -> None:
    with pytest.raises(DanluError, match="E1221"):
        Rows(Corpus.of([[10]]), 2, BERT)


def test_no_documents_no_rows() -> None:
    for frame in (Frame(), BERT):
        rows = Rows(Corpus.of([]), 16, frame)
        assert (len(rows), rows.full) == (0, 0)
