"""Fresh weights: the spread each scheme promises, and what a draw depends on."""

import math

import pytest
import torch
from torch import nn

from danlu.models.build import build, initialize
from danlu.models.families import FAMILIES, fresh
from danlu.nn.parameters import assign, materialize, tied_names

WIDTH = 128


def spread(model: nn.Module, name: str) -> float:
    return model.get_parameter(name).std().item()


@pytest.mark.parametrize(
    ("name", "tensor", "deviation"),
    [
        ("bert", "blocks.0.mlp.down", (4 * WIDTH) ** -0.5),
        ("gpt2", "blocks.0.mlp.up", 0.02),
        ("gpt2", "blocks.0.mlp.down", 0.02 / math.sqrt(2 * 2)),
        ("gpt2", "blocks.1.attention.output", 0.02 / math.sqrt(2 * 2)),
        ("opt", "blocks.0.attention.query", 0.006),
        ("palm", "blocks.0.mlp.down", (4 * WIDTH) ** -0.5),
        ("palm", "blocks.0.mlp.up", WIDTH**-0.5),
    ],
)
def test_decoders_and_encoders(name: str, tensor: str, deviation: float) -> None:
    model = build(fresh(f"{name}-tiny")[1])
    assert spread(model, f"tower.transformer.{tensor}.weight") == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize(
    ("tensor", "deviation"),
    [
        ("encoder.embedding.tokens", 1.0),
        ("encoder.transformer.blocks.0.attention.query", (WIDTH * 64) ** -0.5),
        ("decoder.transformer.blocks.0.cross_attention.key", WIDTH**-0.5),
        ("decoder.transformer.blocks.0.mlp.down", (4 * WIDTH) ** -0.5),
        ("encoder.transformer.relative_bias.table", WIDTH**-0.5),
    ],
)
def test_t5(tensor: str, deviation: float) -> None:
    assert spread(build(fresh("t5-tiny")[1]), f"{tensor}.weight") == pytest.approx(deviation, rel=0.25)


def test_a_small_encoder_looks_at_its_neighbours_first() -> None:
    """Mean score of the first layer by distance: highest at the token itself, lower at each step away from it."""
    model = build(fresh("bert-tiny")[1])
    tokens = torch.randint(5, 4096, (64, 32), generator=torch.Generator().manual_seed(0))
    x = model.tower.embedding(tokens, torch.arange(32)[None])
    attention = model.tower.transformer.blocks[0].attention
    scores = (attention.query(x) @ attention.key(x).mT).mean(0)
    near = [scores.diagonal(-distance).mean().item() for distance in range(5)]
    assert near == sorted(near, reverse=True)
    assert near[1] > scores.mean() + scores.std()


def test_a_published_size_starts_as_it_was_published() -> None:
    assert fresh("bert-base")[1].initial.scheme == "normal"


def test_norms_start_as_the_identity_and_biases_at_zero() -> None:
    model = build(fresh("bert-tiny")[1])
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert (parameter == float(name.endswith("weight"))).all(), name


def test_the_seed_decides_and_nothing_else() -> None:
    config = fresh("gpt2-tiny")[1]
    torch.manual_seed(1)
    first = build(config, seed=5).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = build(config, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build(config, seed=6).state_dict()
    assert not torch.equal(first["tower.embedding.tokens.weight"], other["tower.embedding.tokens.weight"])


def test_a_tensor_s_draw_does_not_depend_on_the_others() -> None:
    model = build(fresh("bert-tiny")[1])
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    name = "tower.transformer.blocks.1.mlp.up.weight"
    initialize(model, model.config, only=[name])
    assert torch.equal(model.get_parameter(name), before[name])
    assert (model.get_parameter("tower.embedding.tokens.weight") == 7).all()


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.kind != "dual"])
def test_first_guesses_are_nearly_even(name: str) -> None:
    """A fresh model's loss is close to that of guessing. PaLM and T5 v1.0 tie a table of unit variance, so that each
    token first of all guesses itself."""
    config = fresh(f"{name}-tiny", vocabulary=500)[1]
    model = build(config).eval()
    tokens = torch.randint(500, (4, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model(tokens, tokens) if config.kind == "sequence_to_sequence" else model(tokens)
    assert logits.logsumexp(-1).mean() - logits.mean() == pytest.approx(
        math.log(logits.shape[-1]), abs=1.8 if name in ("palm", "palm-vision", "t5") else 0.7
    )


def test_assigned_tensors_keep_their_ties() -> None:
    model = build(fresh("gpt2-tiny")[1], "meta")
    materialize(model, "cpu")
    assert model.head.output.weight is model.tower.embedding.tokens.weight
    table = torch.zeros(4096, 128)
    assign(model, {"head.output.weight": table})
    assert model.tower.embedding.tokens.weight is model.head.output.weight
    assert model.head.output.weight.data_ptr() == table.data_ptr()
    assert tied_names(model)["head.output.weight"] == "tower.embedding.tokens.weight"


def test_what_did_not_train_still_does_not() -> None:
    model = build(fresh("gpt2-tiny")[1])
    model.tower.embedding.tokens.weight.requires_grad_(False)
    assign(model, {"tower.embedding.tokens.weight": torch.zeros(4096, 128)})
    assert not model.head.output.weight.requires_grad
