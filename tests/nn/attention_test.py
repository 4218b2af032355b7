"""Who sees whom, and that the short roads see the same as the long ones."""

import pytest
import torch
from torch import Tensor

from danlu.nn.attention import Attention, AttentionConfig
from danlu.nn.cache import Cache
from danlu.nn.marks import Marks
from danlu.nn.mlp import MlpConfig
from danlu.nn.positions import RelativePositions
from danlu.nn.transformer import Transformer, TransformerConfig
from danlu.nn.visibility import ALL, Visibility, attention_mask, memory_view, own_view


def seen(mask: Tensor) -> list[str]:
    return ["".join(str(int(each)) for each in row) for row in mask[0, 0]]


def steps(*numbers: int) -> Tensor:
    return torch.tensor([numbers])


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        ((0, 0, 0), ["111", "111", "111"]),
        ((0, 1, 2), ["100", "110", "111"]),
        ((0, 0, 1), ["110", "110", "111"]),
    ],
    ids=["encoder", "decoder", "prefix"],
)
def test_steps_say_what_kind_of_model_it_is(order: tuple[int, ...], rows: list[str]) -> None:
    assert seen(attention_mask(steps(*order), steps(*order))) == rows


def test_windows_padding_and_documents_hide_more() -> None:
    order = steps(0, 1, 2, 3)
    assert seen(attention_mask(order, order, window=2)) == ["1000", "1100", "0110", "0011"]
    valid = torch.tensor([[False, True, True, True]])
    assert seen(attention_mask(order, order, valid)) == ["0000", "0100", "0110", "0111"]
    documents = steps(7, 7, 8, 8)
    both = attention_mask(order, order, query_documents=documents, key_documents=documents)
    assert seen(both) == ["1000", "1100", "0010", "0011"]


def transformer(**changes: object) -> Transformer:
    torch.manual_seed(0)
    words = {"width": 12, "depth": 2, "attention": AttentionConfig(heads=3), "mlp": MlpConfig(inner=9)} | changes
    return Transformer(TransformerConfig(**words)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("positions", [None, RelativePositions(buckets=8, max_distance=16)])
def test_short_roads_agree_with_masks(causal: bool, positions: RelativePositions | None) -> None:
    model = transformer(causal=causal, positions=positions)
    x, order = torch.randn(2, 6, 12), torch.arange(6)[None]
    said = order if causal else torch.zeros_like(order)
    short = model(x, Marks(order))
    torch.testing.assert_close(model(x, Marks(order, steps=said)), short)
    torch.testing.assert_close(model(x, Marks(order, valid=torch.ones(2, 6, dtype=torch.bool))), short)
    torch.testing.assert_close(model(x, Marks(order, documents=torch.zeros(2, 6, dtype=torch.long))), short)


def test_nothing_to_hide_needs_no_mask() -> None:
    x, row = torch.randn(1, 4, 12), Marks(torch.arange(4)[None])
    assert own_view(x, row, row, causal=True) == own_view(x, row, row, causal=True, window=4) == Visibility(causal=True)
    assert own_view(x, row, row, causal=False) == memory_view(x, None, None, None) == ALL
    last = Marks(torch.tensor([[3]]))
    assert own_view(x[:, -1:], last, row, causal=True) == ALL
    banded = own_view(x, row, row, causal=True, window=3).scores
    assert banded is not None
    assert banded.shape == (1, 1, 4, 4)


def test_masks_come_in_the_dtype_of_the_products() -> None:
    x, valid = torch.randn(1, 2, 4), torch.ones(1, 3, dtype=torch.bool)
    assert memory_view(x, None, valid, None).scores.dtype == torch.float32  # type: ignore[union-attr]
    with torch.autocast("cpu", torch.bfloat16):
        assert memory_view(x, None, valid, None).scores.dtype == torch.bfloat16  # type: ignore[union-attr]


def test_a_row_of_nothing_but_padding_stays_finite() -> None:
    model = transformer(causal=True)
    x, order = torch.randn(2, 4, 12), torch.arange(4)[None]
    valid = torch.tensor([[True] * 4, [False] * 4])
    out = model(x, Marks(order, valid=valid))
    assert out.isfinite().all()
    torch.testing.assert_close(out[0], model(x[:1], Marks(order))[0])


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_grouped_heads_are_repeated_heads(kv_heads: int) -> None:
    torch.manual_seed(0)
    few = Attention(8, AttentionConfig(heads=4, kv_heads=kv_heads))
    many = Attention(8, AttentionConfig(heads=4))
    state = few.state_dict()
    for name in ("key", "value"):
        for part in ("weight", "bias"):
            split = state[f"{name}.{part}"].unflatten(0, (kv_heads, 2))
            state[f"{name}.{part}"] = split.repeat_interleave(4 // kv_heads, 0).flatten(0, 1)
    many.load_state_dict(state)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(few(x, visible=ALL), many(x, visible=ALL))


def test_dropout_of_attention_weights_acts_in_training_only() -> None:
    layer = Attention(8, AttentionConfig(heads=2, dropout=0.5))
    x = torch.randn(1, 6, 8)
    assert not torch.equal(layer(x, visible=ALL), layer(x, visible=ALL))
    layer.eval()
    assert torch.equal(layer(x, visible=ALL), layer(x, visible=ALL))


@pytest.mark.parametrize("window", [1, 3, 5])
def test_a_band_reaches_exactly_as_far_as_it_says(window: int) -> None:
    """The gradient of one layer's output at step i is zero at i - window, and not at i - window + 1."""
    model = transformer(depth=1, causal=True, attention=AttentionConfig(heads=3, windows=(window,)))
    x, at = torch.randn(1, 9, 12, requires_grad=True), 7
    (model(x, Marks(torch.arange(9)[None]))[0, at] @ torch.randn(12)).backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(-1) > 0
    assert reached.tolist() == [at - window < step <= at for step in range(9)]


def test_a_cache_refuses_packed_documents() -> None:
    x, order = torch.randn(1, 4, 12), torch.arange(4)[None]
    with pytest.raises(ValueError, match="packed"):
        transformer(causal=True)(x, Marks(order, documents=order), cache=Cache(2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 13}, {"attention": AttentionConfig(heads=4, kv_heads=3)}, {"parallel": True, "norm_after": True},
        {"depth": 0}, {"dropout": 1.0},
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"width|heads|parallel|depth|dropout"):
        transformer(**wrong)
