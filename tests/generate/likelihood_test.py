from collections.abc import Callable

import pytest
import torch

from danlu.data.batch import IGNORED
from danlu.generate import likelihood
from danlu.generate.likelihood import Question, ask, causal_question, judge, masked_questions
from danlu.generate.rows import batches
from danlu.models.build import Model

ROWS = [[5, 8, 13], [9, 2], [3, 1, 4, 1, 5, 9, 2, 6, 5], [11, 12, 13, 14], [7, 7]]
ModelOf = Callable[[str], Model]


def plain(model: Model, question: Question) -> list[float]:
    """The log-probabilities of one row, worked out the long way."""
    source = [torch.tensor([question.source])] if question.source else []
    logits = model(*source, torch.tensor([question.tokens]))[0].log_softmax(-1)
    return [float(logits[place, target]) for place, target in enumerate(question.targets) if target != IGNORED]


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("budget", [1, 12, 8192])
def test_batched_equals_one_by_one(model_of: ModelOf, family: str, budget: int) -> None:
    questions = [causal_question(row, [0]) for row in ROWS]
    for question, answer in zip(questions, ask(model_of(family), questions, budget=budget), strict=True):
        assert answer.log_probability.tolist() == pytest.approx(plain(model_of(family), question), abs=1e-4)


def test_masked_rows_are_padded_unseen(model_of: ModelOf) -> None:
    questions = [each for row in ROWS for each in masked_questions(row, mask=4)]
    for question, answer in zip(questions, ask(model_of("bert"), questions), strict=True):
        assert answer.log_probability.tolist() == pytest.approx(plain(model_of("bert"), question), abs=1e-4)


def test_an_encoder_decoder_answers_a_source(model_of: ModelOf) -> None:
    model = model_of("bart")
    questions = [Question([model.config.start, *row[:-1]], row, [*row[::-1], 3]) for row in ROWS]
    for question, answer in zip(questions, ask(model, questions), strict=True):
        assert answer.log_probability.tolist() == pytest.approx(plain(model, question), abs=1e-4)


def test_probabilities_of_all_next_tokens_add_up(model_of: ModelOf) -> None:
    questions = [Question([5, 8], [IGNORED, token]) for token in range(97)]
    assert sum(answer.log_probability.exp().item() for answer in ask(model_of("gpt2"), questions)) == pytest.approx(
        1, abs=1e-4
    )


def test_right_is_where_nothing_is_likelier(model_of: ModelOf) -> None:
    best = int(model_of("gpt2")(torch.tensor([[5, 8]]))[0, -1].argmax())
    answers = ask(model_of("gpt2"), [Question([5, 8], [IGNORED, token]) for token in (best, (best + 1) % 97)])
    assert [bool(answer.right) for answer in answers] == [True, False]


def test_chunks_and_blocks_change_nothing(model_of: ModelOf, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("bert")
    hidden, targets = model.hidden(torch.tensor(ROWS[2:3]))[0], torch.tensor(ROWS[2])
    whole = judge(model.head, hidden, targets)
    monkeypatch.setattr(likelihood, "CHUNK_ELEMENTS", 4 * 97)
    monkeypatch.setattr(likelihood, "BLOCK_ELEMENTS", 3 * 97)
    parts = judge(model.head, hidden, targets)
    torch.testing.assert_close(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


def test_bf16_is_near_but_not_equal(model_of: ModelOf) -> None:
    questions = [causal_question(row, [0]) for row in ROWS]
    exact, rough = (
        torch.cat([a.log_probability for a in ask(model_of("gpt2"), questions, bf16=on)]) for on in (False, True)
    )
    assert 0 < float((exact - rough).abs().max()) < 1


def test_what_is_asked() -> None:
    assert causal_question([1, 2, 3], [0]) == Question([0, 1, 2], [1, 2, 3])
    assert causal_question([1, 2, 3], [8, 9]) == Question([8, 9, 1, 2], [IGNORED, 1, 2, 3])
    assert causal_question([1, 2, 3]) == Question([1, 2], [2, 3])
    assert masked_questions([1, 5, 6, 2], 9, frozenset({1, 2})) == [
        Question([1, 9, 6, 2], [IGNORED, 5, IGNORED, IGNORED]),
        Question([1, 5, 9, 2], [IGNORED, IGNORED, 6, IGNORED]),
    ]


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [3, 50, 7, 7, 120, 1, 0, 30]
    groups = list(batches(lengths, 100))
    assert sorted(row for group in groups for row in group) == list(range(8))
    assert all(len(group) == 1 or max(lengths[row] for row in group) * len(group) <= 100 for group in groups)
    assert lengths[groups[0][0]] == 120
