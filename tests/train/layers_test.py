"""Rates by layer, layers that wait, and what is frozen."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import TinyLoader, TinyModel, outcome, trainer
from torch import nn

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.train.layers import Thawing, levels, rates_by_layer, set_rates
from danlu.train.resume import Checkpoints
from danlu.train.tensors import model_tensors


def half_frozen(seed: int = 0) -> TinyModel:
    """Only the second block trains."""
    model = TinyModel(seed=seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("blocks.1."))
    return model


class Stopping(TinyLoader):
    """Somebody presses Ctrl-C twice."""

    def batch(self, step: int) -> Batch:
        if step == 17:
            raise KeyboardInterrupt
        return super().batch(step)


def test_levels_count_from_the_top_of_each_stack() -> None:
    found = levels(build(fresh("t5-tiny", 50, depth=3)[1]))
    assert (
        found["encoder.transformer.blocks.2.mlp.up.weight"] == found["decoder.transformer.blocks.2.mlp.up.weight"] == 1
    )
    assert found["encoder.transformer.blocks.0.mlp.up.weight"] == 3
    assert found["encoder.embedding.tokens.weight"] == 4
    assert found["decoder.transformer.norm.weight"] == 0


def test_rates_fall_from_layer_to_layer_and_every_parameter_keeps_its_decay() -> None:
    model = build(fresh("bert-tiny", 50)[1])
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in model.parameters() if (p.ndim < 2) == vector], "lr": 1e-3, "initial_lr": 1e-3,
          "weight_decay": 0.0 if vector else 0.1} for vector in (False, True)]
    )  # fmt: skip
    set_rates(optimizer, model, rates_by_layer(model, 0.5), {"tower.embedding.norm.bias": 3.0})
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert rates["head.transform.dense.weight"] == 1e-3
    assert rates["tower.transformer.blocks.1.mlp.up.weight"] == 5e-4
    assert rates["tower.transformer.blocks.0.mlp.up.bias"] == 2.5e-4
    assert rates["tower.embedding.tokens.weight"] == 1.25e-4
    assert rates["tower.embedding.norm.bias"] == pytest.approx(3.75e-4)
    assert set(rates) == set(names.values())
    assert decays["tower.embedding.tokens.weight"] == 0.1
    assert decays["tower.transformer.blocks.0.mlp.up.bias"] == 0.0
    assert optimizer.param_groups[0]["initial_lr"] == 1e-3


def test_layers_begin_one_after_another_from_the_top() -> None:
    model = TinyModel()  # head (tied to the embedding), two blocks, embedding
    thawing = Thawing(model)
    trains = []
    for done in (0.0, 0.2, 0.4, 1.0):
        with thawing.held(done, share=0.4):
            trains.append(
                {name.partition(".")[0] + name[7:8] for name, p in model.named_parameters() if p.requires_grad}
            )
    assert trains[0] == {"blocks1"}
    assert trains[1] == {"blocks1", "blocks0"}
    assert trains[2] == trains[3]
    assert len(trains[2]) == 3
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_several_processes_cannot_wait_for_layers() -> None:
    Thawing(TinyModel(), wanted=False, alone=False)
    with pytest.raises(DanluError, match="E2015"):
        Thawing(TinyModel(), alone=False)


def test_a_run_that_unfreezes_leaves_low_layers_as_they_were_at_first(tmp_path: Path) -> None:
    model = TinyModel(dropout=0.0)
    before = {name: tensor.clone() for name, tensor in model_tensors(model).items()}
    trainer(tmp_path, model=model, steps=8, unfreeze=10, save_every=4, weight_decay=0.0).run()
    (kept,) = [
        load_file(path / "model.safetensors")
        for path in Checkpoints(tmp_path / "checkpoints", keep=2, every=4, back=1).paths()
        if path.name.endswith("4")
    ]
    assert torch.equal(kept["embedding.weight"], before["embedding.weight"])
    assert not torch.equal(kept["blocks.1.up.weight"], before["blocks.1.up.weight"])


@pytest.mark.parametrize("settings", [{"unfreeze": 0.5}, {"layer_decay": 0.7}])
def test_resumes_to_the_same_bits(tmp_path: Path, settings: dict[str, float]) -> None:
    trainer(tmp_path / "whole", **settings).run()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", loader=Stopping(), **settings).run()
    trainer(tmp_path / "stopped", **settings).run()
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_only_what_trains_is_saved(tmp_path: Path) -> None:
    trainer(tmp_path, model=half_frozen()).run()
    saved, _ = Checkpoints(tmp_path / "checkpoints", keep=2, every=1, back=1).newest()
    assert saved is not None
    assert {name.partition(".")[0] for name in saved.tensors("model")} == {"blocks"}
    assert all(name.startswith("blocks.1.") for name in saved.tensors("model"))


def test_other_weights_below_are_refused(tmp_path: Path) -> None:
    trainer(tmp_path, model=half_frozen(), steps=10).run()
    with pytest.raises(DanluError, match="E1610"):
        trainer(tmp_path, model=half_frozen(seed=1), steps=20).run()
    trainer(tmp_path, model=half_frozen(), steps=20).run()


def test_a_model_of_which_nothing_trains_is_refused(tmp_path: Path) -> None:
    model: nn.Module = TinyModel()
    model.requires_grad_(False)
    with pytest.raises(DanluError, match="E1505"):
        trainer(tmp_path, model=model)
