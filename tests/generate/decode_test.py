from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from danlu.errors import DanluError
from danlu.generate.beams import search
from danlu.generate.decode import GenerateSettings, write
from danlu.models.build import Model
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.settings import build

CAUSAL = ["gpt2", "opt", "llama", "mistral", "palm"]
PROMPTS = [[5, 8, 13], [9], [3, 1, 4, 1, 5, 9, 2, 6, 5], [11, 12, 13, 14]]
ModelOf = Callable[[str], Model]


def written(
    model: Model, prompts: Sequence[Sequence[int]], settings: GenerateSettings, ends: set[int] = frozenset()
) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in prompts]
    for step in write(model, prompts, settings, ends):
        for row, token in step.items():
            rows[row].append(token)
    return rows


def uncached(model: Model, prompt: list[int], count: int) -> list[int]:
    """Greedy, everything worked out anew for every token."""
    text = [model.config.start] if isinstance(model, SequenceToSequence) else list(prompt)
    start = len(text)
    for _ in range(count):
        target = torch.tensor([text])
        logits = model(torch.tensor([prompt]), target) if isinstance(model, SequenceToSequence) else model(target)
        text.append(int(logits[0, -1].argmax()))
    return text[start:]


@pytest.mark.parametrize("family", [*CAUSAL, "gpt3", "qwen3", "t5", "bart"])
def test_cached_batched_and_padded_equal_one_by_one_without_cache(model_of: ModelOf, family: str) -> None:
    model = model_of(family)
    together = written(model, PROMPTS, GenerateSettings(max_new_tokens=12))
    assert together == [uncached(model, prompt, 12) for prompt in PROMPTS]
    assert len({tuple(row) for row in together}) > 1


@pytest.mark.parametrize("family", ["gpt2", "llama", "bart"])
def test_sampling_gives_the_same_text_alone_and_in_company(model_of: ModelOf, family: str) -> None:
    model, settings = (
        model_of(family),
        GenerateSettings(max_new_tokens=10, temperature=1.2, top_k=30, top_p=0.95, seed=3),
    )
    together = written(model, PROMPTS, settings)
    alone = [
        [token for step in write(model, [prompt], settings, (), rows=[row]) for token in step.values()]
        for row, prompt in enumerate(PROMPTS)
    ]
    assert together == alone
    assert together != written(model, PROMPTS, settings.model_copy(update={"seed": 4}))
    assert together == written(model, PROMPTS, settings), "the same seed, the same text"


@pytest.mark.parametrize("family", CAUSAL)
def test_greedy_equals_transformers(model_of: ModelOf, folder_of: Callable[[str], Path], family: str) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(folder_of(family)).eval()
    ours = written(model_of(family), PROMPTS, GenerateSettings(max_new_tokens=15))
    for prompt, row in zip(PROMPTS, ours, strict=True):
        out = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=15, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        assert row == out[0, len(prompt) :].tolist()


def test_a_repetition_penalty_equals_transformers(model_of: ModelOf, folder_of: Callable[[str], Path]) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(folder_of("gpt2")).eval()
    ours = written(model_of("gpt2"), PROMPTS, GenerateSettings(max_new_tokens=15, repetition_penalty=1.5))
    options = {
        "max_new_tokens": 15,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
        "repetition_penalty": 1.5,
    }
    for prompt, row in zip(PROMPTS, ours, strict=True):
        assert row == theirs.generate(torch.tensor([prompt]), **options)[0, len(prompt) :].tolist()
    assert ours != written(model_of("gpt2"), PROMPTS, GenerateSettings(max_new_tokens=15))


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_an_encoder_decoder_equals_transformers(
    model_of: ModelOf, folder_of: Callable[[str], Path], family: str
) -> None:
    theirs, model = AutoModelForSeq2SeqLM.from_pretrained(folder_of(family)).eval(), model_of(family)
    ours = written(model, PROMPTS, GenerateSettings(max_new_tokens=10))
    options = {
        "do_sample": False,
        "num_beams": 1,
        "eos_token_id": None,
        "forced_eos_token_id": None,
        "forced_bos_token_id": None,
    }
    for prompt, row in zip(PROMPTS, ours, strict=True):
        start = {"decoder_start_token_id": model.config.start, "pad_token_id": 0}
        assert row == theirs.generate(torch.tensor([prompt]), max_new_tokens=10, **options, **start)[0, 1:].tolist()


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(("beams", "penalty"), [(2, 1.0), (4, 0.0), (3, 2.0)])
def test_beams_equal_transformers(
    model_of: ModelOf, folder_of: Callable[[str], Path], family: str, beams: int, penalty: float
) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(folder_of(family)).eval()
    model = model_of(family)
    common = written(model, PROMPTS, GenerateSettings(max_new_tokens=12))
    end = common[0][5]  # a token that models like to write
    ours = search(model, PROMPTS, GenerateSettings(max_new_tokens=12, beams=beams, length_penalty=penalty), {end})
    for prompt, row in zip(PROMPTS, ours, strict=True):
        out = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=12, num_beams=beams, do_sample=False, eos_token_id=end,
            pad_token_id=0, length_penalty=penalty, early_stopping=False,
        )[0, len(prompt) :].tolist()  # fmt: skip
        assert row == out


def test_beams_find_what_greed_misses(model_of: ModelOf) -> None:
    model = model_of("gpt2")

    def log_probability(prompt: list[int], text: list[int]) -> float:
        logits = model(torch.tensor([prompt + text]))[0, len(prompt) - 1 : -1].log_softmax(-1)
        return float(logits.gather(1, torch.tensor(text)[:, None]).sum())

    greedy = written(model, PROMPTS, GenerateSettings(max_new_tokens=8))
    found = search(model, PROMPTS, GenerateSettings(max_new_tokens=8, beams=8), ())
    gains = [log_probability(p, b) - log_probability(p, g) for p, b, g in zip(PROMPTS, found, greedy, strict=True)]
    assert min(gains) >= -1e-4
    assert max(gains) > 0.1


def test_writing_stops_at_an_end_token(model_of: ModelOf) -> None:
    model = model_of("gpt2")
    free = written(model, PROMPTS, GenerateSettings(max_new_tokens=12))
    end = free[0][4]
    for row, stopped in zip(free, written(model, PROMPTS, GenerateSettings(max_new_tokens=12), {end}), strict=True):
        assert stopped == (row[: row.index(end) + 1] if end in row else row)


def test_a_row_ends_where_the_model_does(model_of: ModelOf) -> None:
    model = model_of("gpt2")  # 40 positions
    prompts = [[7] * 39, [7] * 10]
    assert [len(row) for row in written(model, prompts, GenerateSettings(max_new_tokens=100))] == [1, 30]
    assert [len(row) for row in search(model, prompts, GenerateSettings(max_new_tokens=100, beams=2), ())] == [1, 30]
    with pytest.raises(DanluError) as error:
        written(model, [[7] * 40], GenerateSettings())
    assert error.value.code == "E1803"


def test_relative_positions_have_no_end(model_of: ModelOf) -> None:
    assert len(written(model_of("t5"), [[7] * 200], GenerateSettings(max_new_tokens=2))[0]) == 2


@pytest.mark.parametrize(("family", "prompts", "code"), [("bert", [[1]], "E1802"), ("gpt2", [[1], []], "E1804")])
def test_what_cannot_be_written(model_of: ModelOf, family: str, prompts: list[list[int]], code: str) -> None:
    with pytest.raises(DanluError) as error:
        written(model_of(family), prompts, GenerateSettings())
    assert error.value.code == code


def test_beams_and_sampling_exclude_each_other() -> None:
    with pytest.raises(DanluError) as error:
        build(GenerateSettings, {"beams": 2, "temperature": 0.5})
    assert error.value.code == "E1102"


def test_steps_come_as_they_are_written(model_of: ModelOf) -> None:
    steps = write(model_of("gpt2"), PROMPTS, GenerateSettings(max_new_tokens=3), ())
    assert [sorted(next(steps)) for _ in range(3)] == [[0, 1, 2, 3]] * 3
    assert next(steps, None) is None
