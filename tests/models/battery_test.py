"""What every model must stand: half precision, gradients everywhere, the meta device, settings there and back."""

from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.models.build import Model, build, read_config
from danlu.models.families import FAMILIES, fresh
from danlu.models.multimodal import MultimodalConfig
from danlu.nn.loss import head_loss

VOCABULARY = 70


def check_model(model: Model, inputs: dict[str, Tensor]) -> None:
    """The battery. `inputs`: what `hidden` takes."""
    logits = model.eval()(**inputs)
    assert logits.isfinite().all()
    hidden = model.hidden(**inputs)
    assert torch.equal(model.head.output(model.head.features(hidden)), logits)

    with torch.autocast("cpu", torch.bfloat16):
        low = model(**inputs)
    assert low.dtype == torch.bfloat16
    assert (low.float() - logits).norm() / logits.norm() < 0.05

    model.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        features = model.head.features(model.hidden(**inputs)).flatten(0, 1)
        targets = torch.arange(len(features)) % model.config.vocabulary
        head_loss(features, model.head.output.weight, model.head.output.bias, targets).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), f"no gradient reaches {name}"

    config = model.config
    assert read_config(config.model_dump(mode="json")) == config
    empty = build(config, "meta")
    assert all(parameter.is_meta for parameter in empty.parameters())
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in empty.state_dict().items()} == shapes
    assert not list(model.buffers())


def inputs_of(name: str) -> dict[str, Tensor]:
    tokens = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(0))
    if FAMILIES[name].kind == "sequence_to_sequence":
        return {"source": tokens, "target": tokens.flip(1)}
    if FAMILIES[name].kind == "multimodal":
        config = fresh(f"{name}-tiny", VOCABULARY, common=None)[1]
        assert isinstance(config, MultimodalConfig)
        draw = torch.Generator().manual_seed(1)
        stem = torch.tensor([*config.before, *[config.media] * config.each]).expand(3, -1)
        tokens = torch.cat([stem, tokens % (VOCABULARY - 3)], 1)
        return {"tokens": tokens, "images": torch.randn(3, 3, config.size, config.size, generator=draw)}
    segments = {"segments": torch.arange(12).expand(3, 12) // 6} if name == "bert" else {}
    return {"tokens": tokens} | segments


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.kind != "dual"])
def test_family(name: str) -> None:
    speaking: dict[str, Any] = {"part": "generator"} if name == "electra" else {}  # the half that has a vocabulary
    if FAMILIES[name].kind == "multimodal":
        speaking = {"common": None}
    check_model(build(fresh(f"{name}-tiny", VOCABULARY, **speaking)[1]), inputs_of(name))


@pytest.mark.parametrize("change", [{"bias": False}, {"table_width": 20, "norm_after": True}, {"tied": False}], ids=str)
def test_opt_in_its_variants(change: dict[str, Any]) -> None:
    check_model(build(fresh("opt-tiny", VOCABULARY, **change)[1]), inputs_of("opt"))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_compiled_is_eager(name: str, full: bool) -> None:
    if not full:
        pytest.skip("compiling takes long: --full")
    model = build(fresh(f"{name}-tiny", VOCABULARY)[1]).eval()
    inputs = inputs_of(name)
    torch.testing.assert_close(torch.compile(model)(**inputs), model(**inputs), atol=1e-4, rtol=1e-4)
