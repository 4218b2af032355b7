"""Prefixes and prompts: beside padding, decoding step by step, packed rows."""

import pytest
import torch
from stirring import TOKENS, made, stirred

from danlu.adapt import read_change
from danlu.errors import DanluError


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
@pytest.mark.parametrize("family", ["gpt2-tiny", "llama-tiny"])
def test_one_token_at_a_time_gives_the_same(kind: str, family: str) -> None:
    model = made(family).model
    read_change({"kind": kind, "tokens": 5}).apply(model)
    stirred(model, only_trained=True)
    with torch.no_grad():
        whole, cache = model(TOKENS), model.new_cache()
        steps = [model(TOKENS[:, at : at + 1], cache=cache) for at in range(TOKENS.shape[1])]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
@pytest.mark.parametrize("family", ["gpt2-tiny", "bert-tiny", "t5-tiny"])
def test_padding_changes_nothing(kind: str, family: str) -> None:
    model = made(family).model
    read_change({"kind": kind, "tokens": 5}).apply(model)
    stirred(model, only_trained=True)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), TOKENS], 1)
    valid = torch.cat([torch.zeros(2, 3), torch.ones(2, 9)], 1).bool()
    with torch.no_grad():
        if family == "t5-tiny":
            right = torch.cat([TOKENS, torch.zeros(2, 3, dtype=torch.long)], 1)
            whole, beside = model(TOKENS, TOKENS), model(right, TOKENS, source_valid=valid.flip(1))
        else:
            whole, beside = model(TOKENS), model(padded, valid)[:, 3:]
    torch.testing.assert_close(beside, whole, rtol=0, atol=1e-5)


def test_packed_texts_see_a_prefix_and_refuse_a_prompt() -> None:
    model = made("gpt2-tiny").model
    read_change({"kind": "prefix", "tokens": 5}).apply(model)
    stirred(model, only_trained=True)
    documents = torch.tensor([[0] * 4 + [1] * 5])
    with torch.no_grad():
        packed = model(TOKENS[:1], documents=documents)
        apart = torch.cat([model(TOKENS[:1, :4]), model(TOKENS[:1, 4:])], 1)
    torch.testing.assert_close(packed, apart, rtol=0, atol=1e-5)
    other = made("gpt2-tiny").model
    read_change("prompt").apply(other)
    with pytest.raises(DanluError, match="E2010"):
        other(TOKENS[:1], documents=documents)


def test_a_prompt_begins_as_tokens_of_the_vocabulary() -> None:
    model = made("bert-tiny").model
    read_change({"kind": "prompt", "tokens": 4}).apply(model, seed=1)
    table = model.get_parameter("tower.embedding.tokens.weight")
    vectors = model.get_parameter("tower.embedding.prompts.adapters.default.vectors")
    assert all((table == vector).all(1).any() for vector in vectors)
