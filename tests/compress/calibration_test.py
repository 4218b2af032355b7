"""One pass: its sums are those a person would add up by hand."""

from typing import Any

import pytest
import torch
from shrinking import FAMILIES, batches, given, small, stirred, token_loss

from danlu.compress.calibration import Calibration, linear_layers
from danlu.data.batch import Batch
from danlu.errors import DanluError

EVERY: tuple[Any, ...] = ("gram", "norms", "means", "maxima", "range")


def inputs_of(model: torch.nn.Module, some: list[Batch]) -> dict[str, torch.Tensor]:
    """What entered each linear layer, kept whole."""
    kept: dict[str, list[torch.Tensor]] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda _, x, path=path: kept.setdefault(path, []).append(x[0].flatten(0, -2)))
        for path, layer in linear_layers(model).items()
    ]
    with torch.no_grad():
        for batch in some:
            model(**batch.inputs)
    for hook in hooks:
        hook.remove()
    return {path: torch.cat(rows) for path, rows in kept.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_sums_are_those_of_all_inputs(name: str) -> None:
    config = small(name)
    model, some = stirred(config), batches(config)
    found, kept = Calibration(some).collect(model, EVERY), inputs_of(model, some)
    assert found.keys() == kept.keys()
    for path, x in kept.items():
        own = found[path]
        assert own.rows == len(x)
        torch.testing.assert_close(own.gram, x.T @ x, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(own.norms, x.norm(dim=0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own.means, x.abs().mean(0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own.maxima, x.abs().amax(0))
        torch.testing.assert_close(own.least, x.amin(0))
        torch.testing.assert_close(own.most, x.amax(0))


def test_padding_is_not_counted() -> None:
    config = small("bert-tiny")
    model = stirred(config)
    (batch,) = batches(config, 1)
    valid = torch.ones(4, 12, dtype=torch.bool)
    valid[:, 8:] = False
    padded = Batch({**batch.inputs, "valid": valid}, batch.targets)
    short = Batch({"tokens": batch.inputs["tokens"][:, :8]}, batch.targets)
    ours, theirs = (Calibration([each]).collect(model, ("gram",)) for each in (padded, short))
    for path, own in ours.items():
        assert own.rows == 32
        torch.testing.assert_close(own.gram, theirs[path].gram, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["bert-tiny", "t5-tiny"])
def test_block_by_block_is_the_same_as_all_at_once(name: str) -> None:
    config = small(name)
    model, some = stirred(config), batches(config)
    calibration = Calibration(some)
    whole = calibration.collect(model, ("gram",))
    found = {path: each for _, part in calibration.through(model, ("gram",)) for path, each in part.items()}
    assert found.keys() == whole.keys()
    for path, each in found.items():
        torch.testing.assert_close(each.gram, whole[path].gram, rtol=1e-4, atol=1e-3)


def test_a_block_reads_what_the_changed_ones_below_give() -> None:
    config = small("gpt2-tiny")
    model, some = stirred(config), batches(config)
    whole = Calibration(some).collect(model, ("gram",))
    seen = {}
    for path, statistics in Calibration(some).through(model, ("gram",)):
        seen.update(statistics)
        if path.endswith("blocks.0"):
            with torch.no_grad():
                for parameter in model.get_submodule(path).parameters():
                    parameter.mul_(0.5)
    first, second = (f"tower.transformer.blocks.{at}.mlp.up" for at in (0, 1))
    torch.testing.assert_close(seen[first].gram, whole[first].gram, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(seen[second].gram, whole[second].gram, rtol=0.05)
    torch.testing.assert_close(seen[second].gram, Calibration(some).collect(model, ("gram",))[second].gram)


def test_fisher_is_the_sum_of_each_sequences_squared_gradient() -> None:
    config = small("bert-tiny")
    model, some = stirred(config), batches(config, 1)
    found = Calibration(some, token_loss).collect(model, ("fisher",))
    for path in ("tower.transformer.blocks.0.attention.query", "tower.transformer.blocks.1.mlp.down"):
        weight, wanted = model.get_submodule(path).weight, 0.0
        for row in range(4):
            (gradient,) = torch.autograd.grad(token_loss(model, some[0].split(1)[row]), [weight])
            wanted = wanted + gradient.square()
        torch.testing.assert_close(found[path].fisher, wanted, rtol=1e-3, atol=1e-5)


def test_what_outputs_feel_is_added_up() -> None:
    config = small("gpt2-tiny")
    model, some = stirred(config), batches(config, 1)
    path = "tower.transformer.blocks.0.mlp.up"
    found = Calibration(some, token_loss).collect(model, ("felt",))[path].felt
    kept: list[torch.Tensor] = []
    hook = model.get_submodule(path).register_forward_hook(lambda *given: kept.append(given[2]))
    (gradient,) = torch.autograd.grad(token_loss(model, some[0]), kept)
    hook.remove()
    rows = gradient.flatten(0, -2)
    torch.testing.assert_close(found, rows.T @ rows, rtol=1e-3, atol=1e-5)


def test_taylor_terms_foretell_what_a_head_costs() -> None:
    """A head whose output is made small changes the loss by so much (Michel et al. 2019, eq. 2)."""
    config = small("gpt2-tiny")
    model = stirred(config)
    row = batches(config, 1, rows=1)
    path = "tower.transformer.blocks.0.attention"
    taylor = Calibration(row, token_loss).collect(model, ("taylor",))[f"{path}.output"].taylor
    attention = model.get_submodule(path)
    with torch.no_grad():
        before = token_loss(model, row[0]).double()
        for head in range(attention.heads):
            part = slice(head * attention.head_size, (head + 1) * attention.head_size)
            attention.output.weight[:, part] *= 1 - 1e-2
            change = abs(float(token_loss(model, row[0]).double() - before)) / 1e-2
            attention.output.weight[:, part] /= 1 - 1e-2
            assert change == pytest.approx(float(taylor[head]), rel=0.1, abs=0.05)


def test_nothing_of_the_model_changes() -> None:
    config = small("bert-tiny")
    model = stirred(config).train()
    before = {name: each.clone() for name, each in model.named_parameters()}
    Calibration(batches(config), token_loss).collect(model, ("gram", "fisher", "taylor"))
    assert model.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_pictures_and_texts_are_calibrated_together() -> None:
    config = small("clip-tiny")
    model = stirred(config)
    some = [Batch(given(config), {"tokens": torch.zeros(4, 1)})]
    found = Calibration(some).collect(model, ("gram",))
    assert {"text_projection", "image_projection"} <= found.keys()
    assert any(path.startswith("image.") for path in found)


def test_gradients_want_a_loss() -> None:
    config = small("bert-tiny")
    with pytest.raises(DanluError, match="E2401"):
        Calibration(batches(config)).collect(stirred(config), ("fisher",))
