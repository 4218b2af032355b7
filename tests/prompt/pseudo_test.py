"""What several models say of a row together."""

import pytest
import torch

from danlu.prompt.pseudo import together

SURE, OTHER = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.3, 0.7]]).log()


def test_alike_models_are_softened() -> None:
    shares = together([SURE, SURE], [0.5, 0.5], temperature=2.0)
    assert shares.tolist() == [pytest.approx([0.75, 0.25])]  # 0.9 and 0.1, by their roots
    assert together([SURE], [1.0], temperature=1.0).tolist() == [pytest.approx([0.9, 0.1])]


def test_trust() -> None:
    """Who is right more often counts for more; nobody at all is nobody."""
    first = together([SURE, OTHER], [0.9, 0.1])
    second = together([SURE, OTHER], [0.1, 0.9])
    assert first[0, 0] > 0.5 > second[0, 0]
    assert torch.isfinite(together([SURE, OTHER], [0.0, 0.0])).all()
