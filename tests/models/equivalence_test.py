"""The same text by different roads gives the same answer: cached, packed, padded, reordered."""

import pytest
import torch
from torch import Tensor

from danlu.models.build import build
from danlu.models.families import FAMILIES, fresh
from danlu.models.language import LanguageModel, count_positions
from danlu.models.sequence_to_sequence import SequenceToSequence

VOCABULARY = 60
CAUSAL = [name for name, family in FAMILIES.items() if family.kind == "causal"]
ONE_TOWER = [name for name, family in FAMILIES.items() if family.kind in ("masked", "causal")]
TWO_TOWERS = [name for name, family in FAMILIES.items() if family.kind == "sequence_to_sequence"]
WINDOWED = {"gpt3": {"window": 3}, "mistral": {"window": 4}, "opt": {"table_width": 12}}


def small(name: str) -> LanguageModel | SequenceToSequence:
    words = {"width": 24, "depth": 3, "heads": 2, "length": 40} | WINDOWED.get(name, {})
    words |= {"head_size": 8} if name in ("t5", "mt5", "palm") else {}
    model = build(fresh(f"{name}-tiny", VOCABULARY, **words)[1], seed=1).eval()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(index)
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False)


def language(name: str) -> LanguageModel:
    model = small(name)
    assert isinstance(model, LanguageModel)
    return model


def pair(name: str) -> SequenceToSequence:
    model = small(name)
    assert isinstance(model, SequenceToSequence)
    return model


def tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def close(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("chunks", [[5, 1, 1, 1, 1], [1] * 9, [3, 4, 2]], ids=str)
def test_cached_is_uncached(name: str, chunks: list[int]) -> None:
    model, text = language(name), tokens(2, 9)
    cache = model.new_cache()
    parts = [model(part, cache=cache) for part in text.split(chunks, 1)]
    close(torch.cat(parts, 1), model(text))


@pytest.mark.parametrize("name", CAUSAL)
def test_cached_with_left_padding_is_unpadded(name: str) -> None:
    model, text = language(name), tokens(2, 9)
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[1, :3] = False
    cache = model.new_cache(capacity=9)
    parts = [model(text[:, :5], valid, cache=cache), *(model(text[:, at : at + 1], cache=cache) for at in range(5, 9))]
    close(torch.cat(parts, 1)[1:, 3:], model(text[1:, 3:]))
    close(torch.cat(parts, 1)[:1], model(text[:1]))


@pytest.mark.parametrize("name", CAUSAL)
def test_reordered_rows_go_on_from_their_parents(name: str) -> None:
    model, text, more = language(name), tokens(2, 4), tokens(3, 2, seed=1)
    index = torch.tensor([1, 0, 1])
    cache = model.new_cache()
    model(text, cache=cache)
    cache.reorder(index)
    close(model(more, cache=cache), model(torch.cat([text[index], more], 1))[:, 4:])


@pytest.mark.parametrize("name", CAUSAL)
def test_a_rewound_cache_goes_on_from_there(name: str) -> None:
    model, text, more = language(name), tokens(2, 5), tokens(2, 2, seed=1)
    cache = model.new_cache()
    model(text, cache=cache)
    cache.rewind(3)
    close(model(more, cache=cache), model(torch.cat([text[:, :3], more], 1))[:, 3:])


@pytest.mark.parametrize("name", ONE_TOWER)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_is_unpadded(name: str, side: str) -> None:
    model, text = language(name), tokens(2, 9)
    hidden = slice(0, 4) if side == "left" else slice(5, 9)
    shown = slice(4, 9) if side == "left" else slice(0, 5)
    valid = torch.ones_like(text, dtype=torch.bool)
    valid[1, hidden] = False
    padded = model(text, valid)
    close(padded[1:, shown], model(text[1:, shown]))
    close(padded[:1], model(text[:1]))
    other = text.clone()
    other[1, hidden] = 0
    close(model(other, valid)[1, shown], padded[1, shown])


@pytest.mark.parametrize("name", ONE_TOWER)
def test_packed_is_separate(name: str) -> None:
    model = language(name)
    first, second, third = tokens(1, 4), tokens(1, 3, seed=1), tokens(1, 2, seed=2)
    row = torch.cat([first, second, third], 1)
    documents = torch.tensor([[0] * 4 + [1] * 3 + [2] * 2])
    packed = model(row, documents=documents)
    for part, place in ((first, slice(0, 4)), (second, slice(4, 7)), (third, slice(7, 9))):
        close(packed[:, place], model(part))


@pytest.mark.parametrize("name", ONE_TOWER)
def test_packed_and_padded_is_separate(name: str) -> None:
    model = language(name)
    row, documents = tokens(1, 8), torch.tensor([[5, 5, 5, 9, 9, 9, 0, 0]])
    packed = model(row, torch.tensor([[True] * 6 + [False] * 2]), documents=documents)
    close(packed[:, 3:6], model(row[:, 3:6]))


def test_a_prefix_sees_itself_both_ways() -> None:
    model, text = language("llama"), tokens(1, 6)
    steps = torch.tensor([[0, 0, 0, 1, 2, 3]])
    changed = text.clone()
    changed[0, 2] = (changed[0, 2] + 1) % VOCABULARY
    differs = (model(text, steps=steps) - model(changed, steps=steps)).abs().amax(-1)[0] > 1e-6
    assert differs.tolist() == [True] * 6
    changed = text.clone()
    changed[0, 4] = (changed[0, 4] + 1) % VOCABULARY
    differs = (model(text, steps=steps) - model(changed, steps=steps)).abs().amax(-1)[0] > 1e-6
    assert differs.tolist() == [False] * 4 + [True] * 2


def test_prefix_steps_go_through_a_cache() -> None:
    model, text = language("llama"), tokens(1, 6)
    steps = torch.tensor([[0, 0, 0, 1, 2, 3]])
    cache = model.new_cache()
    parts = [model(text[:, :3], steps=steps[:, :3], cache=cache)]
    parts += [model(text[:, at : at + 1], steps=steps[:, at : at + 1], cache=cache) for at in range(3, 6)]
    close(torch.cat(parts, 1), model(text, steps=steps))


def test_segments_matter_and_the_first_is_meant_where_none_is_given() -> None:
    model, text = language("bert"), tokens(2, 5)
    close(model(text), model(text, segments=torch.zeros_like(text)))
    assert not torch.allclose(model(text), model(text, segments=torch.ones_like(text)))


def test_positions_can_be_given() -> None:
    model, text = language("gpt2"), tokens(1, 5)
    close(model(text), model(text, positions=torch.arange(5)[None]))
    assert not torch.allclose(model(text), model(text, positions=torch.arange(5)[None] + 1))


def test_positions_count_valid_tokens_of_each_document() -> None:
    row = torch.zeros(1, 7, dtype=torch.long)
    valid = torch.tensor([[False, True, True, False, True, True, True]])
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 2]])
    assert count_positions(row).tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert count_positions(row, valid).tolist() == [[0, 0, 1, 1, 2, 3, 4]]
    assert count_positions(row, documents=documents).tolist() == [[0, 1, 2, 0, 1, 2, 0]]
    assert count_positions(row, valid, documents)[valid].tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("name", TWO_TOWERS)
def test_two_towers_cached_is_uncached(name: str) -> None:
    model, source, target = pair(name), tokens(2, 7), tokens(2, 6, seed=1)
    valid = torch.ones_like(source, dtype=torch.bool)
    valid[1, 4:] = False
    cache, memory = model.new_cache(), model.encode(source, valid)
    parts = [model(None, part, valid, memory=memory, cache=cache) for part in target.split([2, 1, 1, 1, 1], 1)]
    close(torch.cat(parts, 1), model(source, target, valid))
    close(torch.cat(parts, 1)[1:], model(source[1:, :4], target[1:]))


@pytest.mark.parametrize("name", TWO_TOWERS)
def test_two_towers_reordered(name: str) -> None:
    model, source, target, more = pair(name), tokens(2, 7), tokens(2, 3), tokens(3, 1, seed=1)
    index = torch.tensor([1, 0, 1])
    cache, memory = model.new_cache(), model.encode(source)
    model(None, target, memory=memory, cache=cache)
    cache.reorder(index)
    whole = model(source[index], torch.cat([target[index], more], 1))
    close(model(None, more, memory=memory[index], cache=cache), whole[:, 3:])


@pytest.mark.parametrize("name", TWO_TOWERS)
def test_two_towers_packed_is_separate(name: str) -> None:
    model = pair(name)
    sources, targets = [tokens(1, 4), tokens(1, 3, seed=1)], [tokens(1, 2, seed=2), tokens(1, 5, seed=3)]
    source_documents, target_documents = torch.tensor([[0] * 4 + [1] * 3]), torch.tensor([[0] * 2 + [1] * 5])
    packed = model(
        torch.cat(sources, 1), torch.cat(targets, 1), source_documents=source_documents,
        target_documents=target_documents,
    )  # fmt: skip
    close(packed[:, :2], model(sources[0], targets[0]))
    close(packed[:, 2:], model(sources[1], targets[1]))


def test_two_towers_need_something_to_read() -> None:
    with pytest.raises(ValueError, match="source or memory"):
        pair("t5")(None, tokens(1, 3))
