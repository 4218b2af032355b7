"""Both roads of attention against each other, and dropout."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from danlu.nn import attend as module
from danlu.nn.attend import attend
from danlu.nn.dropout import Dropout


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", ["open", "causal", "scores", "scores a head", "one query"])
def test_roads_agree(groups: int, kind: str) -> None:
    torch.manual_seed(0)
    queries = 1 if kind == "one query" else 7
    query = torch.randn(3, 4, queries, 8, requires_grad=True)
    key, value = (torch.randn(3, groups, 7, 8, requires_grad=True) for _ in range(2))
    scores = {"scores": torch.randn(3, 1, 7, 7), "scores a head": torch.randn(1, 4, 7, 7)}.get(kind)
    ours = attend(query, key, value, scores, kind == "causal", 0.3, 0.0)
    theirs = scaled_dot_product_attention(
        query, key, value, scores, is_causal=kind == "causal", scale=0.3, enable_gqa=groups != 4
    )
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    mine = torch.autograd.grad((ours * weight).sum(), [query, key, value])
    peer = torch.autograd.grad((theirs * weight).sum(), [query, key, value])
    torch.testing.assert_close(mine, peer)


def test_default_scale_and_long_rows_take_torchs_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(1, 2, 9, 4) for _ in range(3))
    short = attend(query, key, value, None, True, None, 0.0)
    monkeypatch.setattr(module, "PLAIN_KEYS", 8)
    called = []
    real = scaled_dot_product_attention
    monkeypatch.setattr(module, "scaled_dot_product_attention", lambda *a, **k: called.append(1) or real(*a, **k))
    torch.testing.assert_close(attend(query, key, value, None, True, None, 0.0), short)
    assert called


def test_dropped_weights_keep_their_mean() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(64, 4, 16, 8), torch.randn(64, 4, 16, 8)
    value = torch.ones(64, 4, 16, 8)
    assert abs(attend(query, key, value, None, False, None, 0.3).mean().item() - 1) < 0.02


def test_dropout_share_scale_seed_and_rest() -> None:
    layer, x = Dropout(0.1), torch.ones(1000, 1000)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(first, layer(x))
    assert not torch.equal(first, layer(x))
    assert abs((first == 0).float().mean().item() - 0.1) < 1e-3
    assert abs(first.mean().item() - 1) < 1e-3
    assert torch.equal(layer.eval()(x), x)


def test_dropout_does_not_break_a_compiled_graph() -> None:
    x = torch.ones(1000)
    layer = torch.compile(Dropout(0.5), fullgraph=True, backend="eager")
    torch.manual_seed(0)
    dropped = layer(x)
    assert set(dropped.tolist()) == {0.0, 2.0}
    assert 0.4 < dropped.count_nonzero() / 1000 < 0.6
