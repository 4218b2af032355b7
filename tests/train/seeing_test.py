"""The losses of a language model that sees: in pieces as in one, over processes as in one, and what they teach."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from together import together
from torch import Tensor

from danlu.data.batch import IGNORED, Batch
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.models.multimodal import MultimodalModel
from danlu.train.distributed import World
from danlu.train.gradients import Gradients
from danlu.train.parallel import arranged
from danlu.train.seeing import SeeingObjective

V, ROWS = 40, 6


def model_of() -> MultimodalModel:
    words = {"width": 32, "depth": 1, "heads": 2, "head_size": 16, "length": 64, "common": 16}
    model = build(fresh("palm-vision-tiny", V, **words)[1], "cpu", 1)
    assert isinstance(model, MultimodalModel)
    return model


def batch_of(model: MultimodalModel, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    stem = torch.tensor([[*model.stem(), *model.config.after]]).expand(ROWS, -1)
    text = torch.randint(V - 3, (ROWS, 4), generator=draw)
    tokens = torch.cat([stem, text], 1)
    targets = torch.full_like(tokens, IGNORED)
    targets[:, -4:-1] = text[:, 1:]
    targets[: ROWS // 2, -2] = IGNORED  # rows with fewer targets than others
    captions = torch.randint(V - 3, (ROWS, 5), generator=draw)
    valid = torch.ones_like(captions, dtype=torch.bool)
    valid[0, 3:] = False
    images = torch.randn(ROWS, 3, 32, 32, generator=draw)
    told = {"tokens": targets, "captions": captions, "captions_valid": valid, "alike": torch.tensor([0, 1, 2, 0, 3, 4])}
    return Batch({"tokens": tokens, "images": images}, told)


def gradients(kind: str, rows: int | None, world: World | None = None) -> dict[str, Tensor]:
    model, world = model_of().train(), world or World()
    objective = SeeingObjective(kind, 0.7, world=world)
    layout = arranged(model, objective, torch.device("cpu"), world, False)
    layout.rehearsed(True)
    taken = Gradients(layout, torch.float32, 0)
    batch = batch_of(model)
    mine = batch if world.alone else batch.part(world.rank, world.size)
    counts, _ = taken.counts([mine])
    taken.take([mine], counts, 0, rows)
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def apart(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The distance of two gradients, as a share of their length."""
    assert first.keys() == second.keys()
    length = sum(each.square().sum() for each in first.values()) ** 0.5
    return float(sum((first[name] - second[name]).square().sum() for name in first) ** 0.5 / length)


@pytest.mark.parametrize("kind", ["sigmoid", "contrastive"])
def test_in_pieces_as_in_one(kind: str) -> None:
    whole = gradients(kind, None)
    assert {"common.weight", "similarity.value", "image.patches.weight"} <= whole.keys()
    assert apart(whole, gradients(kind, 2)) < 1e-5


def learnt(world: World, kind: str) -> dict[str, Tensor]:
    return gradients(kind, None, world)


@pytest.mark.parametrize("kind", ["sigmoid", "contrastive"])
def test_two_processes_as_one(kind: str) -> None:
    whole = gradients(kind, None)
    for found in together(2, learnt, kind):
        assert not isinstance(found, str), found
        assert apart(whole, found) < 1e-5


def test_text_alone_takes_no_part_in_pairs() -> None:
    model = model_of()
    objective = SeeingObjective("sigmoid", 0.5)
    whole = batch_of(model)
    text = Batch({"tokens": whole.targets["captions"]}, {"tokens": whole.targets["captions"]})
    assert objective.counts(text) == {"tokens": 30, "sigmoid": 0}
    found: Any = objective(model, text)
    assert found["sigmoid"] == 0
    assert found["tokens"] > 0
    assert objective.whole(model, [text, text], lambda number: None) == [text, text]  # type: ignore[arg-type, return-value]


def test_pairs_bring_pictures_and_captions_together() -> None:
    """Six pictures and their captions, learnt by heart; answers as well."""
    model, objective = model_of().train(), SeeingObjective("sigmoid", 1.0)
    batch = batch_of(model)
    batch.targets["alike"].copy_(torch.arange(ROWS))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        losses = objective(model, batch)
        loss = losses["tokens"] / batch.count("tokens") + losses["sigmoid"] / ROWS
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        images = model.eval().embed_image(batch.inputs["images"])
        texts = model.embed_text(batch.targets["captions"], batch.targets["captions_valid"])
        assert (images @ texts.T).argmax(1).tolist() == list(range(ROWS))
        last = model(**batch.inputs)[:, :-1].argmax(-1)
    asked = batch.targets["tokens"][:, :-1]
    right = (last == asked)[asked != IGNORED].float().mean()
    assert right > 0.9
