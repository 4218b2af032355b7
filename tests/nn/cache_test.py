"""Buffers that grow, rows that change places, steps that are taken back."""

import pytest
import torch

from danlu.nn.cache import Cache, LayerCache
from danlu.nn.marks import Marks


def keys(start: int, count: int) -> torch.Tensor:
    return torch.arange(start, start + count).float().view(1, 1, count, 1).expand(2, 3, count, 4)


def test_buffers_grow_by_doubling_and_keep_what_they_held() -> None:
    layer = LayerCache()
    sizes = set()
    for step in range(300):
        key, value = layer.extend(keys(step, 1), -keys(step, 1))
        assert layer.buffers is not None
        sizes.add(layer.buffers[0].shape[2])
    assert torch.equal(key, keys(0, 300))
    assert torch.equal(value, -keys(0, 300))
    assert sizes == {64, 130, 262, 526}


def test_a_known_capacity_is_allocated_once() -> None:
    layer = LayerCache(capacity=200)
    layer.extend(keys(0, 5), keys(0, 5))
    assert layer.buffers is not None
    assert layer.buffers[0].shape[2] == 200
    first = layer.buffers[0].data_ptr()
    for step in range(195):
        layer.extend(keys(5 + step, 1), keys(5 + step, 1))
    assert layer.buffers[0].data_ptr() == first


def test_an_empty_cache_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="empty"):
        LayerCache().read()


def test_marks_appear_when_the_first_token_needs_them() -> None:
    cache = Cache(1)
    assert cache.extend(Marks(torch.arange(3)[None])).plain
    assert cache.next_positions() == 3
    valid = torch.tensor([[True, False], [True, True]])
    marks = cache.extend(Marks(torch.tensor([[3, 3], [3, 4]]), valid=valid))
    assert marks.valid is not None
    assert marks.valid.tolist() == [[True] * 4 + [False], [True] * 5]
    assert torch.equal(cache.next_positions(), torch.tensor([[4], [5]]))  # type: ignore[arg-type]
    assert marks.positions.tolist() == [[0, 1, 2, 3, 3], [0, 1, 2, 3, 4]]


def test_reorder_copies_rows_and_may_change_their_number() -> None:
    cache = Cache(1)
    rows = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    cache.attention[0].extend(rows, rows)
    cache.cross_attention[0].keep(rows, rows)
    cache.extend(Marks(torch.zeros(1, 1, dtype=torch.long), valid=torch.tensor([[True], [False]])))
    cache.reorder(torch.tensor([1, 1, 0]))
    for layer in (cache.attention[0], cache.cross_attention[0]):
        assert layer.read()[0].flatten().tolist() == [2.0, 2.0, 1.0]
    assert cache.marks is not None
    assert cache.marks.valid is not None
    assert cache.marks.valid.tolist() == [[False], [False], [True]]


def test_rewind_takes_steps_back() -> None:
    cache = Cache(1)
    cache.attention[0].extend(keys(0, 5), keys(0, 5))
    cache.extend(Marks(torch.arange(5)[None]))
    cache.rewind(2)
    assert cache.length == 2
    assert torch.equal(cache.attention[0].extend(keys(7, 1), keys(7, 1))[0][0, 0, :, 0], torch.tensor([0.0, 1.0, 7.0]))
