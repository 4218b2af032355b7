"""Angles, pairs and buckets."""

import torch
import transformers
from transformers.models.t5.modeling_t5 import T5Attention

from danlu.nn.positions import RelativeBias, RelativePositions, RotaryPositions, RotaryScaling, rotate, rotation

ORDER = torch.arange(50)[None]


def turned(x: torch.Tensor, positions: torch.Tensor, config: RotaryPositions) -> torch.Tensor:
    return rotate(x, rotation(positions, config, x.shape[-1], x.dtype), config.pairs)


def test_only_distances_matter_to_scores() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)
    for pairs in ("halves", "neighbours"):
        config = RotaryPositions(pairs=pairs)  # type: ignore[arg-type]

        def score(at: int, other: int, config: RotaryPositions = config) -> torch.Tensor:
            left = turned(query, torch.tensor([[at]]), config)
            return (left * turned(key, torch.tensor([[other]]), config)).sum(-1)

        torch.testing.assert_close(score(9, 4), score(105, 100), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(score(9, 4), score(9, 5))


def test_both_kinds_of_pairs_are_one_rotation_in_another_order() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 1, 50, 8)
    order = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])  # neighbours -> halves
    apart = turned(x[..., order], ORDER, RotaryPositions(pairs="halves"))
    torch.testing.assert_close(apart, turned(x, ORDER, RotaryPositions(pairs="neighbours"))[..., order])


def test_linear_scaling_stretches_positions() -> None:
    slow = RotaryPositions(scaling=RotaryScaling(kind="linear", factor=4.0))
    stretched = rotation(ORDER * 4, slow, 8, torch.float32)
    for ours, plain in zip(stretched, rotation(ORDER, RotaryPositions(), 8, torch.float32), strict=True):
        torch.testing.assert_close(ours, plain)


def test_llama3_scaling_leaves_fast_turns_and_slows_slow_ones() -> None:
    scaling = RotaryScaling(kind="llama3", factor=8.0, low=1.0, high=4.0, original=64)
    angles = rotation(torch.ones(1, 1, dtype=torch.long), RotaryPositions(scaling=scaling), 16, torch.float64)[1].asin()
    plain = rotation(torch.ones(1, 1, dtype=torch.long), RotaryPositions(), 16, torch.float64)[1].asin()
    ratio = (angles / plain).flatten()
    assert ratio[0] == 1
    torch.testing.assert_close(ratio[-1], torch.tensor(1 / 8, dtype=torch.float64), atol=1e-4, rtol=1e-4)
    assert (ratio.diff() <= 1e-6).all()


def test_angles_of_far_positions_keep_their_digits() -> None:
    far = torch.tensor([[100_000]])
    cosine, _ = rotation(far, RotaryPositions(), 8, torch.bfloat16)
    assert cosine.dtype == torch.bfloat16
    torch.testing.assert_close(cosine.float(), rotation(far, RotaryPositions(), 8, torch.float32)[0], atol=4e-3, rtol=0)


def test_buckets_are_those_of_t5() -> None:
    distances = torch.arange(-300, 301)[None]
    for both_ways in (True, False):
        config = transformers.T5Config(num_heads=2, is_decoder=not both_ways)
        theirs = T5Attention(config, has_relative_attention_bias=True)
        ours = RelativeBias(RelativePositions(), 2, both_ways)
        expected = theirs._relative_position_bucket(distances, bidirectional=both_ways)
        assert torch.equal(ours._bucket(distances), expected)
