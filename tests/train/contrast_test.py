"""Contrastive losses against their formulas, in pieces, in several processes, and with a locked tower."""

import math
from typing import Any

import pytest
import torch
from together import together
from torch import Tensor
from torch.nn.functional import cross_entropy

from danlu.data.batch import Batch
from danlu.models.build import build
from danlu.models.dual import DualEncoder
from danlu.models.families import fresh
from danlu.train.contrast import ContrastSettings, PairObjective
from danlu.train.distributed import World
from danlu.train.gradients import Gradients
from danlu.train.parallel import Replicas, Single

ROWS = 8


def towers(name: str = "clip", **changes: Any) -> DualEncoder:
    words: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2} | changes
    if name == "clip":
        words |= {"shared": 12, "end": 1}
    model = build(fresh(f"{name}-tiny", 40, **words)[1], seed=1)
    assert isinstance(model, DualEncoder)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.image.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=draw)
    return model


def batch(rows: int = ROWS, alike: list[int] | None = None, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, 40, (rows, 6), generator=draw)
    tokens[:, -1] = 1
    images = torch.randn(rows, 3, 32, 32, generator=draw)
    return Batch({"tokens": tokens, "images": images}, {"alike": torch.tensor(alike or list(range(rows)))})


def gradient(model: DualEncoder, objective: PairObjective, pieces: int | None) -> tuple[float, dict[str, Tensor]]:
    model.train()
    model.zero_grad()
    taken = Gradients(Single(model, objective, torch.device("cpu"), World()), torch.float32, seed=3)
    given = batch()
    measured = taken.take([given], taken.counts([given])[0], 5, pieces)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return measured.loss, found


def distance(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Between two gradients, as a share of their length."""
    length = torch.stack([each.norm() for each in wanted.values()]).norm()
    return float(torch.stack([(found[name] - wanted[name]).norm() for name in wanted]).norm() / length)


def test_contrastive_is_the_mean_of_both_cross_entropies() -> None:
    model, given = towers().eval(), batch()
    logits = model(given.inputs["tokens"], given.inputs["images"])
    right = torch.arange(ROWS)
    for smoothing in (0.0, 0.1):
        both = [cross_entropy(each, right, label_smoothing=smoothing) for each in (logits, logits.T)]
        ours = PairObjective("contrastive", ContrastSettings(smoothing=smoothing))(model, given)["contrastive"] / ROWS
        assert ours.item() == pytest.approx(sum(both).item() / 2, rel=1e-5)


def test_sigmoid_judges_every_pair() -> None:
    model, given = towers("siglip").eval(), batch()
    logits = model(given.inputs["tokens"], given.inputs["images"])
    signs = 2 * torch.eye(ROWS) - 1
    wanted = -torch.nn.functional.logsigmoid(signs * logits).sum() / ROWS
    assert PairObjective("sigmoid")(model, given)["sigmoid"].item() / ROWS == pytest.approx(wanted.item(), rel=1e-5)
    assert model.similarity.bias is not None
    assert model.similarity.bias.item() == -10


def test_equal_captions_are_right_for_each_other() -> None:
    model = towers().eval()
    apart, together = batch(), batch(alike=[0, 0, 2, 3, 4, 5, 6, 7])
    same = PairObjective("contrastive", ContrastSettings(equal=False))
    several = PairObjective("contrastive")
    assert several(model, apart)["contrastive"].item() == pytest.approx(same(model, apart)["contrastive"].item())
    assert several(model, together)["contrastive"].item() != pytest.approx(same(model, together)["contrastive"].item())


def test_a_fresh_model_guesses() -> None:
    """ln(batch) + var(logits) / 2, within 5 %."""
    model, given = towers().eval(), batch(64)
    logits = model(given.inputs["tokens"], given.inputs["images"])
    spread = (logits.var(0).mean() + logits.var(1).mean()) / 4
    loss = PairObjective()(model, given)["contrastive"].item() / 64
    assert loss == pytest.approx(math.log(64) + spread.item(), rel=0.05)


@pytest.mark.parametrize(("name", "kind"), [("clip", "contrastive"), ("siglip", "sigmoid")])
def test_pieces_equal_the_whole(name: str, kind: str) -> None:
    model = towers(name, dropout=0.0)
    whole, wanted = gradient(model, PairObjective(kind), None)
    for rows in (1, 3, 4):
        loss, found = gradient(model, PairObjective(kind), rows)
        assert loss == pytest.approx(whole, rel=1e-5)
        assert found.keys() == wanted.keys()
        assert distance(found, wanted) <= 1e-6


def test_dropout_is_the_same_in_both_passes() -> None:
    """The second pass of a piece must draw what the first did, or its gradient belongs to another loss."""
    model = towers(dropout=0.3)
    seen: list[Tensor] = []

    class Spy(PairObjective):
        def embed(self, model: Any, batch: Batch) -> Any:
            sides = super().embed(model, batch)
            seen.append(sides[0].detach())
            return sides

    gradient(model, Spy(), 4)
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])


def test_the_factor_stays_within_its_bounds() -> None:
    model, objective = towers(), PairObjective()
    model.train()
    for value in (50.0, -50.0):
        with torch.no_grad():
            model.similarity.value.fill_(value)
        objective(model, batch())
        assert 0.0 <= model.similarity.value.item() <= math.log(100) + 1e-6
    cold = towers("align", depth=1)
    with torch.no_grad():
        cold.similarity.value.fill_(-3.0)
    cold.similarity.clamp()
    assert cold.similarity.factor.item() == pytest.approx(100.0)


def test_a_locked_tower_does_not_move() -> None:
    model = towers("align")
    model.lock("image")
    before = {name: each.clone() for name, each in model.named_parameters()}
    model.train()
    PairObjective()(model, batch())["contrastive"].backward()
    for name, each in model.named_parameters():
        assert torch.equal(each, before[name])
        assert (each.grad is None) == (name.startswith("image.") or each.grad is None)
    assert model.get_parameter("text_projection.weight").grad is not None
    assert all(each.grad is None for each in model.image.parameters())


def test_statistics_run_while_training() -> None:
    model = towers("align")
    before = model.image.stem.norm.mean.clone()
    model.eval()
    model.embed_image(batch().inputs["images"])
    assert torch.equal(before, model.image.stem.norm.mean)
    model.train()
    model.embed_image(batch().inputs["images"])
    assert not torch.equal(before, model.image.stem.norm.mean)


def learnt(world: World, pieces: int | None) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradient of one step, the batch divided among processes."""
    layout = (Single if world.alone else Replicas)(
        towers(dropout=0.0).train(), PairObjective(world=world), torch.device("cpu"), world
    )
    layout.rehearsed(True)
    taken = Gradients(layout, torch.float32, seed=3)
    mine = batch().part(world.rank, world.size)
    measured = taken.take([mine], taken.counts([mine])[0], 5, pieces)
    return measured.loss, {name: p.grad.clone() for name, p in layout.trained.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("size", "pieces"), [(1, 2), (2, None), (2, 3), (4, None)])
def test_processes_equal_one(size: int, pieces: int | None) -> None:
    whole, wanted = gradient(towers(dropout=0.0), PairObjective(), None)
    for found in together(size, learnt, pieces):
        assert not isinstance(found, str), found
        loss, gradients = found
        assert loss == pytest.approx(whole, rel=1e-6)
        assert distance(gradients, wanted) <= 1e-6
