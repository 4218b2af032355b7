"""Optimisers against others' and against their papers' formulas, and on what they promise."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu.train.optimizers import OPTIMIZERS, make_optimizer, orthogonalized


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


RATES = {"adamw": 0.02, "muon": 0.02, "lamb": 0.05, "adafactor": 0.05, "lion": 0.005}


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_each_optimizer_learns_and_decays_only_matrices(name: Any) -> None:
    torch.manual_seed(0)
    model = Toy()
    losses = steps(model, make_optimizer(model, name, lr=RATES[name]), 60)
    assert losses[-1] < losses[0] / 2
    still = Toy()
    optimizer = make_optimizer(still, name, lr=0.1, weight_decay=1.0)
    before = {key: value.detach().clone() for key, value in still.named_parameters()}
    for parameter in still.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in still.named_parameters():
        shrunk = 0.9 if name != "lamb" else 1 - 0.1  # LAMB's decay is an update as long as the weights say: x itself
        expected = before[key] * (shrunk if value.ndim > 1 else 1.0)
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


def random_walk(name: Any, count: int = 5, **asked: Any) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor]]:
    """A matrix and a vector before, their gradients at each step, and both after so many steps of an optimiser."""
    torch.manual_seed(0)
    model = nn.Module()
    model.weight, model.bias = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = make_optimizer(model, name, **asked)
    given = []
    for _ in range(count):
        given.append([torch.randn_like(parameter) for parameter in model.parameters()])
        for parameter, gradient in zip(model.parameters(), given[-1], strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return before, given, [parameter.detach() for parameter in model.parameters()]


def test_lamb_is_its_papers_formula() -> None:
    before, given, after = random_walk("lamb", lr=0.01, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-6)
    for index, (x, found) in enumerate(zip(before, after, strict=True)):
        m, v = torch.zeros_like(x), torch.zeros_like(x)
        for step, gradients in enumerate(given, 1):
            g = gradients[index]
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
            r = (m / (1 - 0.9**step)) / ((v / (1 - 0.99**step)).sqrt() + 1e-6)
            if x.ndim > 1:
                u = r + 0.1 * x
                x = x - 0.01 * x.norm() / u.norm() * u
            else:
                x = x - 0.01 * r
        torch.testing.assert_close(found, x)


def test_lamb_of_nothing_steps_as_adam_does() -> None:
    model = nn.Linear(4, 4, bias=False)
    nn.init.zeros_(model.weight)
    model.weight.grad = torch.ones(4, 4)
    make_optimizer(model, "lamb", lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(model.weight.detach(), torch.full((4, 4), -0.1))


def test_lion_is_its_papers_formula() -> None:
    before, given, after = random_walk("lion", lr=0.01, weight_decay=0.1, betas=(0.9, 0.99))
    for index, (x, found) in enumerate(zip(before, after, strict=True)):
        m = torch.zeros_like(x)
        for gradients in given:
            g = gradients[index]
            x = x - 0.01 * ((0.9 * m + 0.1 * g).sign() + (0.1 if x.ndim > 1 else 0.0) * x)
            m = 0.99 * m + 0.01 * g
        torch.testing.assert_close(found, x)


@pytest.mark.parametrize("first", [0.0, 0.9])
def test_adafactor_equals_transformers(first: float) -> None:
    theirs = pytest.importorskip("transformers.optimization").Adafactor
    before, given, after = random_walk("adafactor", 8, lr=0.02, weight_decay=0.0, betas=(first, 0.0))
    parameters = [nn.Parameter(each) for each in before]
    peer = theirs(
        parameters, lr=0.02, relative_step=False, scale_parameter=True, warmup_init=False, beta1=first or None
    )
    for gradients in given:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        peer.step()
    for mine, their in zip(after, parameters, strict=True):
        torch.testing.assert_close(mine, their.detach(), atol=1e-6, rtol=1e-5)


def test_adafactor_unfactored_is_the_formula_and_its_decay_the_rate_squared() -> None:
    before, given, after = random_walk("adafactor", lr=0.1, weight_decay="rate", betas=(0.0, 0.0), factored=False)
    x, v = before[0], torch.zeros_like(before[0])
    for step, gradients in enumerate(given, 1):
        g = gradients[0]
        beta = 1 - step**-0.8
        v = beta * v + (1 - beta) * (g * g + 1e-30)
        u = g / v.sqrt()
        u = u / max(1.0, float(u.square().mean().sqrt()))
        x = x * (1 - 0.1**2) - 0.1 * float(x.square().mean().sqrt()) * u
    torch.testing.assert_close(after[0], x)


def test_adafactor_keeps_a_row_and_a_column_only() -> None:
    model = nn.Linear(40, 30, bias=False)
    for factored, numbers in ((True, 70), (False, 1200)):
        optimizer = make_optimizer(model, "adafactor", lr=0.1, betas=(0.0, 0.0), factored=factored)
        model.weight.grad = torch.ones(30, 40)
        optimizer.step()
        assert (
            sum(value.numel() for value in optimizer.state[model.weight].values() if torch.is_tensor(value)) == numbers
        )
