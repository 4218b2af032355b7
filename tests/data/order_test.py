import numpy as np
import pytest

from danlu.data.order import key, permuted, uniforms


@pytest.mark.parametrize("n", [1, 2, 3, 5, 63, 64, 65, 1000, 4097, 100_003])
def test_every_sample_once_an_epoch(n: int) -> None:
    for epoch in (0, 1):
        assert np.array_equal(np.sort(permuted(7, epoch, np.arange(n), n)), np.arange(n))


def test_order_is_random_access() -> None:
    whole = permuted(7, 3, np.arange(1001), 1001)
    chosen = np.array([1000, 4, 77])
    assert np.array_equal(permuted(7, 3, chosen, 1001), whole[chosen])
    mixed_epochs = permuted(7, np.array([3, 4, 3]), chosen, 1001)
    assert mixed_epochs[1] == permuted(7, 4, 4, 1001)[0] != whole[4]


def test_orders_differ_by_seed_and_epoch() -> None:
    orders = {tuple(permuted(seed, epoch, np.arange(50), 50)) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400


@pytest.mark.parametrize("n", [10, 64, 1000])
def test_a_sample_lands_anywhere_alike(n: int) -> None:
    epochs = np.arange(20_000)
    places = permuted(1, epochs, np.full_like(epochs, n // 3), n)
    cells = min(n, 50)
    counts = np.bincount(places * cells // n, minlength=cells)
    expected = np.bincount(np.arange(n) * cells // n) * len(epochs) / n
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - (cells - 1)) < 5 * np.sqrt(2 * (cells - 1))


def test_neighbours_are_torn_apart() -> None:
    order = permuted(5, 0, np.arange(200_000), 200_000)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(order, permuted(5, 1, np.arange(200_000), 200_000))[0, 1]) < 0.01


def test_uniforms_are_even_and_unrelated() -> None:
    draws = uniforms(3, 0, np.arange(4000), 256, stream=1)
    counts = np.histogram(draws, bins=256, range=(0, 1))[0]
    expected = draws.size / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * np.sqrt(510)
    others = [
        draws[:, 1:], np.roll(draws, 1, axis=0)[:, :-1], uniforms(3, 0, np.arange(4000), 256, 2)[:, :-1],
        uniforms(3, 1, np.arange(4000), 256, 1)[:, :-1], uniforms(4, 0, np.arange(4000), 256, 1)[:, :-1],
    ]  # fmt: skip
    for other in others:
        assert abs(np.corrcoef(draws[:, :-1].ravel(), other.ravel())[0, 1]) < 0.005
    assert draws.min() >= 0
    assert draws.max() < 1


def test_uniforms_belong_to_the_sample() -> None:
    whole = uniforms(3, 5, np.arange(100), 64)
    assert np.array_equal(uniforms(3, 5, [42, 7], 64), whole[[42, 7]])
    assert np.array_equal(uniforms(3, 5, [42], 16), whole[[42], :16])


def test_key_changes_with_every_part_and_their_order() -> None:
    keys = [
        int(key(*parts)[0]) for parts in [(1, 2, 3), (1, 3, 2), (1, 2), (1, 2, 3, 0), (0, 1, 2, 3), (-1,), (2**63,)]
    ]
    assert len(set(keys)) == len(keys)
