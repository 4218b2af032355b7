"""Whole stacks in C give what their blocks give one by one, in every form a family has."""

import copy
from typing import Any
from unittest.mock import patch

import pytest
import torch

from danlu.adapt import read_change
from danlu.kernels import native, status
from danlu.models.build import Model, build
from danlu.models.families import FAMILIES
from danlu.nn.coding import Coding
from danlu.nn.norms import RmsNorm
from danlu.nn.parameters import replace_module
from danlu.nn.quantized import QuantizedConfig, QuantizedLinear
from danlu.nn.transformer import Transformer

pytestmark = pytest.mark.skipif(native() is None, reason=status()[1])
WORDS: dict[str, Any] = {"depth": 2, "width": 64, "heads": 4, "length": 64, "vocabulary": 100}
FORMS = ("gpt2", "opt", "llama", "palm", "bert", "roberta")


def model_of(family: str, coding: Coding = "int8", group: int | None = None, **words: Any) -> Model:
    config = FAMILIES[family].make(**{**dict(FAMILIES[family].sizes["tiny"]), **WORDS, **words})
    model = build(config, seed=3).eval()
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    for path, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and ".blocks." in path:
            replace_module(model, path, QuantizedLinear.of(layer, QuantizedConfig(coding=coding, group=group)))
    return model


def plainly(model: Model, **inputs: Any) -> torch.Tensor:
    with torch.no_grad(), patch("danlu.nn.transformer.fused", lambda *_: None):
        out: torch.Tensor = model(**inputs)
    return out


def at_once(model: Model, **inputs: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(**inputs)
    assert any(stack.fused for stack in model.modules() if isinstance(stack, Transformer))
    return out


def near(one: torch.Tensor, other: torch.Tensor) -> None:
    """Sums in another order may move an input's code by one."""
    assert float((one - other).norm() / other.norm()) < 3e-3


@pytest.mark.parametrize("family", FORMS)
@pytest.mark.parametrize(("coding", "group"), [("int8", None), ("int4", 32)])
def test_rows_whole_and_padded(family: str, coding: Coding, group: int | None) -> None:
    model = model_of(family, coding, group)
    tokens = torch.randint(100, (3, 21), generator=torch.Generator().manual_seed(0))
    near(at_once(model, tokens=tokens), plainly(model, tokens=tokens))
    valid = torch.ones_like(tokens)
    valid[1, 15:] = valid[2, 9:] = 0
    one, other = at_once(model, tokens=tokens, valid=valid), plainly(model, tokens=tokens, valid=valid)
    near(one[valid.bool()], other[valid.bool()])


@pytest.mark.parametrize("family", ["gpt2", "llama", "palm", "opt"])
def test_tokens_one_by_one(family: str) -> None:
    """A row with a cache, in pieces of 9, 1, 1 and 4 tokens, two rows at a time, one of them padded on its left."""
    model = model_of(family, **({"kv_heads": 2} if family == "llama" else {}))
    tokens = torch.randint(100, (2, 15), generator=torch.Generator().manual_seed(0))
    valid = torch.ones_like(tokens)
    valid[1, :3] = 0
    for marks in ({}, {"valid": valid}):
        caches = [model.new_cache(), model.new_cache()]  # type: ignore[union-attr]
        start = 0
        for count in (9, 1, 1, 4):
            inputs = {name: each[:, start : start + count] for name, each in {"tokens": tokens, **marks}.items()}
            near(at_once(model, cache=caches[0], **inputs), plainly(model, cache=caches[1], **inputs))
            start += count
        assert caches[0].length == caches[1].length == 15


def test_scores_of_positions_and_one_wanted_token() -> None:
    """T5's encoder has a bias on scores; a classifier asks for one token of each row."""
    model = model_of("t5")
    inputs = {
        name: torch.randint(100, (2, 17), generator=torch.Generator().manual_seed(1)) for name in ("source", "target")
    }
    near(at_once(model, **inputs), plainly(model, **inputs))
    tower = model_of("gpt2").tower
    tokens = torch.randint(100, (2, 17))
    with torch.no_grad():
        torch.testing.assert_close(tower(tokens, read=-1), tower(tokens)[:, -1:])


def test_threads_and_moved_weights() -> None:
    model = model_of("gpt2")
    tokens = torch.randint(100, (2, 17), generator=torch.Generator().manual_seed(0))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = at_once(model, tokens=tokens)
        torch.set_num_threads(3)
        near(at_once(model, tokens=tokens), one)
    finally:
        torch.set_num_threads(threads)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for norm in (block.mlp_norm for block in other.tower.transformer.blocks):
            norm.weight.zero_()
            norm.weight = torch.nn.Parameter(norm.weight + 2)
    near(at_once(other, tokens=tokens), plainly(other, tokens=tokens))
    assert (at_once(other, tokens=tokens) - one).abs().max() > 0.01


@pytest.mark.parametrize("why", ["head norms", "gradients", "hooks", "training", "windows", "plain layer", "prefixes"])
def test_what_c_does_not_know_goes_the_ordinary_way(why: str) -> None:
    model = model_of("gpt3" if why == "windows" else "gpt2")
    stack = model.tower.transformer
    if why == "head norms":
        stack.blocks[1].attention.query_norm = RmsNorm(16, 1e-5)
    tokens = torch.randint(100, (2, 9))
    if why == "hooks":
        stack.blocks[0].register_forward_hook(lambda *_: None)
    if why == "training":
        model.train()
    if why == "plain layer":
        replace_module(stack.blocks[1], "mlp.up", torch.nn.Linear(64, stack.blocks[1].mlp.up.out_features))
    if why == "prefixes":  # after the stack was made ready
        at_once(model, tokens=tokens)
        read_change("prefix").apply(model)
        model.eval()
    with torch.set_grad_enabled(why == "gradients"):
        model(tokens)
    assert stack.fused is None
