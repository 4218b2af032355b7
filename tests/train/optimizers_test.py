"""Optimisers against torch's own, and on what they promise."""

import pytest
import torch
from torch import nn

from danlu.train.optimizers import make_optimizer, orthogonalized
from danlu.train.schedules import DECAYS, factor


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.one, self.two, self.wide = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 24)
        self.head = nn.ModuleDict({"output": nn.Linear(24, 10, bias=False)})

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wide(self.two(self.one(self.embedding(tokens)).relu()).relu())
        return self.head["output"](x)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> list[float]:
    torch.manual_seed(1)
    tokens = torch.randint(10, (64,))
    losses = []
    for _ in range(count):
        loss = nn.functional.cross_entropy(model(tokens), (tokens + 1) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_muon_equals_torchs_where_torch_has_it() -> None:
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.skip("this torch has no Muon")
    torch.manual_seed(0)
    ours, theirs = Toy(), Toy()
    theirs.load_state_dict(ours.state_dict())
    mine = make_optimizer(ours, "muon", lr=0.01, weight_decay=0.1, precision=torch.bfloat16)
    matrices = [layer.weight for layer in (theirs.one, theirs.two, theirs.wide)]
    matrix_names = {"one.weight", "two.weight", "wide.weight"}
    rest = [parameter for name, parameter in theirs.named_parameters() if name not in matrix_names]
    peers = [
        muon(matrices, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([p for p in rest if p.ndim > 1], lr=0.01, weight_decay=0.1, betas=(0.9, 0.95)),
        torch.optim.AdamW([p for p in rest if p.ndim == 1], lr=0.01, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    steps(ours, mine, 3)
    torch.manual_seed(1)
    tokens = torch.randint(10, (64,))
    for _ in range(3):
        theirs.zero_grad()
        nn.functional.cross_entropy(theirs(tokens), (tokens + 1) % 10).backward()
        for peer in peers:
            peer.step()
    for (name, mine_), their in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine_, their, atol=2e-3, rtol=2e-2, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_each_optimizer_learns_and_decays_only_matrices(name: str) -> None:
    torch.manual_seed(0)
    model = Toy()
    losses = steps(model, make_optimizer(model, name, lr=0.02), 60)
    assert losses[-1] < losses[0] / 2
    still = Toy()
    optimizer = make_optimizer(still, name, lr=0.1, weight_decay=1.0)
    before = {key: value.detach().clone() for key, value in still.named_parameters()}
    for parameter in still.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in still.named_parameters():
        expected = before[key] * (0.9 if value.ndim > 1 else 1.0)
        torch.testing.assert_close(value.detach(), expected)


def test_orthogonalized_singular_values_are_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16), (1, 12, 12)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape)))
        assert values.min() > 0.3
        assert values.max() < 1.3


def test_frozen_parameters_are_left_out() -> None:
    model = Toy()
    model.one.requires_grad_(False)
    optimizer = make_optimizer(model, "muon", lr=0.01)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert id(model.one.weight) not in held
    assert id(model.two.weight) in held


@pytest.mark.parametrize("name", list(DECAYS))
def test_schedules(name: str) -> None:
    assert factor(name, 0.0, 0.1) == 0.0
    assert factor(name, 0.05, 0.1) == pytest.approx(0.5)
    assert factor(name, 0.1, 0.1) == pytest.approx(1.0)
    values = [factor(name, done / 100, 0.1, floor=0.1) for done in range(10, 101)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.1)
