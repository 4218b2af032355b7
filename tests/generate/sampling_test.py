import numpy as np
import pytest
import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from danlu.errors import DanluError
from danlu.generate.sampling import SamplingSettings, choose, draw, shaped
from danlu.settings import build


def logits(rows: int = 5, vocabulary: int = 40) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(1)) * 3


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"temperature": 0.7}, TemperatureLogitsWarper(0.7)),
        ({"top_k": 5}, TopKLogitsWarper(5)),
        ({"top_p": 0.6}, TopPLogitsWarper(0.6)),
        ({"repetition_penalty": 1.3}, RepetitionPenaltyLogitsProcessor(1.3)),
    ],
)
def test_each_step_does_what_transformers_does(settings: dict[str, float], theirs: object) -> None:
    tokens = torch.tensor([[1, 2, 3], [4, 4, 5], [0, 9, 8], [7, 7, 7], [39, 38, 1]])
    seen = torch.zeros(5, 40, dtype=torch.bool).scatter(1, tokens, True)
    ours = shaped(logits(), SamplingSettings(**settings), seen)
    torch.testing.assert_close(ours, theirs(tokens, logits()))
    assert not torch.equal(ours, logits())


def test_all_steps_together_keep_their_order() -> None:
    tokens = torch.tensor([[1, 2]] * 5)
    seen = torch.zeros(5, 40, dtype=torch.bool).scatter(1, tokens, True)
    theirs = logits()
    for step in (
        RepetitionPenaltyLogitsProcessor(1.2),
        TemperatureLogitsWarper(0.5),
        TopKLogitsWarper(9),
        TopPLogitsWarper(0.9),
    ):
        theirs = step(tokens, theirs)
    ours = shaped(logits(), SamplingSettings(repetition_penalty=1.2, temperature=0.5, top_k=9, top_p=0.9), seen)
    torch.testing.assert_close(ours, theirs)


def test_defaults_change_nothing_and_choose_the_likeliest() -> None:
    assert shaped(logits(), SamplingSettings()) is not None
    torch.testing.assert_close(shaped(logits(), SamplingSettings()), logits())
    assert torch.equal(choose(logits(), SamplingSettings(), torch.full((5,), 0.9)), logits().argmax(-1))


def test_draws_follow_the_distribution() -> None:
    row = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]])
    chance = torch.linspace(0, 1, 20_001)[:-1]
    counts = np.bincount(draw(row.expand(20_000, -1), chance).numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(counts, row.softmax(-1)[0].numpy(), atol=1e-3)
    assert counts[3] == 0


@pytest.mark.parametrize("chance", [0.0, 1 - 2**-53])
def test_an_impossible_token_is_never_drawn(chance: float) -> None:
    row = torch.full((1, 50_000), -torch.inf)
    row[0, 70:90] = torch.randn(20)
    assert 70 <= int(draw(row, torch.tensor([chance], dtype=torch.float64))) < 90


def test_a_row_draws_the_same_in_any_company() -> None:
    chance = torch.rand(5, generator=torch.Generator().manual_seed(2))
    together = choose(logits(), SamplingSettings(temperature=1.0), chance)
    alone = [
        choose(logits()[row : row + 1], SamplingSettings(temperature=1.0), chance[row : row + 1]) for row in range(5)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -3}, {"repetition_penalty": 0}]
)
def test_settings_have_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(DanluError) as error:
        build(SamplingSettings, wrong)
    assert error.value.code == "E1102"
