"""Language models that see: what a row means, however it is cut, packed, padded or cached."""

from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.models.build import build
from danlu.models.families import fresh
from danlu.models.language import LanguageModel, LanguageModelConfig
from danlu.models.multimodal import MultimodalModel

V = 60
NAMES = ("gpt3-vision", "palm-vision", "llava")
SEEING: dict[str, dict[str, Any]] = {"llava": {"axes": True, "both_ways": True, "common": 16, "shuffle": 2}}


def model_of(name: str, **words: Any) -> MultimodalModel:
    model = build(fresh(f"{name}-tiny", V, **{"length": 200, **SEEING.get(name, {}), **words})[1]).eval()
    assert isinstance(model, MultimodalModel)
    with torch.no_grad():
        for number, (_, parameter) in enumerate(model.named_parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return model


def picture(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def row(model: MultimodalModel, *text: int, frames: int = 1) -> Tensor:
    return torch.tensor([[*model.stem(frames), *model.config.after, *text]])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frames", [1, 3])
def test_a_cache_changes_nothing(name: str, frames: int) -> None:
    model, images = model_of(name), picture(0, 1, frames)
    tokens = row(model, 5, 6, 7, 8, frames=frames)
    whole = model(tokens, images=images)
    cache = model.new_cache()
    parts = [model.hidden(tokens[:, :-3], images=images, cache=cache)]
    parts += [model.hidden(tokens[:, -2 - 1 : -1], cache=cache), model.hidden(tokens[:, -1:], cache=cache)]
    torch.testing.assert_close(model.head(torch.cat(parts, 1)), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_padded_prompt_goes_on_as_itself(name: str) -> None:
    model, images = model_of(name), picture(0, 2)
    short, long = row(model, 5, 6, 7)[0].tolist(), row(model, 5, 6, 8, 9, 7)[0].tolist()
    tokens = torch.tensor([[0, 0, *short[:-1]], long[:-1]])
    valid = torch.tensor([[0, 0, *[1] * (len(short) - 1)], [1] * (len(long) - 1)])
    cache = model.new_cache()
    model.hidden(tokens, valid, images=images, cache=cache)
    last = model.head(model.hidden(torch.tensor([[7], [7]]), cache=cache))
    for number, ids in enumerate((short, long)):
        alone = model(torch.tensor([ids]), images=images[number : number + 1])[:, -1:]
        torch.testing.assert_close(last[number : number + 1], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_in_the_middle_of_a_talk(name: str) -> None:
    """Text first, then a picture into the same cache."""
    model, images = model_of(name), picture(0, 1)
    tokens = torch.cat([torch.tensor([[9, 8]]), row(model, 5, 6)], 1)
    cache = model.new_cache()
    parts = [model.hidden(tokens[:, :2], cache=cache), model.hidden(tokens[:, 2:], images=images, cache=cache)]
    torch.testing.assert_close(model.head(torch.cat(parts, 1)), model(tokens, images=images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_padding_on_either_side(name: str) -> None:
    model, images = model_of(name), picture(0, 1)
    tokens = row(model, 5, 6, 7)
    whole = model(tokens, images=images)
    pad = torch.zeros(1, 4, dtype=torch.long)
    valid = torch.ones_like(tokens)
    left = model(torch.cat([pad, tokens], 1), torch.cat([pad, valid], 1), images=images)[:, 4:]
    right = model(torch.cat([tokens, pad], 1), images=images)[:, :-4]
    torch.testing.assert_close(left, whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(right, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_packed_is_separate(name: str) -> None:
    """Two documents in one row, the second with a film; and questions that branch off from one picture."""
    model = model_of(name)
    first, second = row(model, 5, 6, 7), row(model, 9, 8, frames=2)
    one, two = picture(0, 1, 1), picture(1, 1, 2)
    packed = model(
        torch.cat([first, second], 1), images=torch.cat([one, two], 1),
        documents=torch.tensor([[0] * first.shape[1] + [1] * second.shape[1]]),
    )  # fmt: skip
    apart = torch.cat([model(first, images=one), model(second, images=two)], 1)
    torch.testing.assert_close(packed, apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_branches_are_separate(name: str) -> None:
    model, images = model_of(name), picture(0, 1)
    stem, after = model.stem(), list(model.config.after)
    questions = [[*after, 5, 6, 7], [*after, 11], [*after, 4, 4, 9, 13]]
    tokens = torch.tensor([[*stem, *chain(*questions)]])
    branches = [0] * len(stem) + [number for number, each in enumerate(questions, 1) for _ in each]
    # two documents alike, so that branches start anew in each
    twice = model(
        torch.cat([tokens, tokens], 1), images=torch.stack([images[0], images[0]])[None],
        branches=torch.tensor([branches * 2]),
        documents=torch.tensor([[0] * len(branches) + [1] * len(branches)]),
    )  # fmt: skip
    alone = model(tokens, images=images, branches=torch.tensor([branches]))
    torch.testing.assert_close(twice, torch.cat([alone, alone], 1), atol=1e-5, rtol=1e-5)
    at = len(stem)
    for question in questions:
        wanted = model(torch.tensor([[*stem, *question]]), images=images)[:, len(stem) :]
        torch.testing.assert_close(alone[:, at : at + len(question)], wanted, atol=1e-5, rtol=1e-5)
        at += len(question)


@pytest.mark.parametrize("name", NAMES)
def test_who_sees_whom(name: str) -> None:
    """The last patch reaches the first, text reaches nothing before it, the picture reaches the text."""
    model, images = model_of(name), picture(0, 1)
    tokens = row(model, 5, 6)
    before = model.hidden(tokens, images=images)
    other = images.clone()
    other[..., -8:, -8:] += 1
    media = tokens[0] == model.config.media
    moved = (model.hidden(tokens, images=other) - before).abs().amax((0, 2))
    assert (moved[media] > 1e-6).all()
    assert moved[-1] > 1e-6
    changed = model.hidden(row(model, 7, 6), images=images)
    torch.testing.assert_close(changed[0, media], before[0, media], atol=0, rtol=0)


def test_without_both_ways_a_picture_is_causal() -> None:
    model, images = model_of("llava", both_ways=False, axes=False, shuffle=1), picture(0, 1)
    tokens = row(model, 5)
    other = images.clone()
    other[..., -8:, -8:] += 1
    places = (tokens[0] == model.config.media).nonzero().flatten()
    vectors = model.vectors(images), model.vectors(other)
    assert (vectors[0] - vectors[1]).abs().max() > 1e-4
    model.vectors = lambda _: torch.cat([vectors[0][:, :-1], vectors[1][:, -1:]], 1)  # type: ignore[method-assign]
    last = model.hidden(tokens, images=images)
    model.vectors = lambda _: vectors[0]  # type: ignore[method-assign]
    before = model.hidden(tokens, images=images)
    assert torch.equal(last[0, places[:-1]], before[0, places[:-1]])


@pytest.mark.parametrize("name", NAMES)
def test_frames_have_an_order(name: str) -> None:
    model, film = model_of(name), picture(0, 1, 3)
    tokens = row(model, 5, frames=3)
    forward, backward = (model(tokens, images=each)[:, -1] for each in (film, film.flip(1)))
    assert (forward - backward).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["gpt3-vision", "palm-vision"])
def test_text_alone_is_the_trunk(name: str) -> None:
    model = model_of(name)
    plain = {word: value for word, value in model.config if word in LanguageModelConfig.model_fields and word != "kind"}
    trunk = LanguageModel(LanguageModelConfig(**plain)).eval()
    own = {word: tensor for word, tensor in model.state_dict().items() if word.startswith(("tower.", "head."))}
    trunk.load_state_dict(own)
    tokens = torch.randint(V - 3, (2, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(tokens), trunk(tokens), atol=0, rtol=0)


def test_axes_of_text_are_one() -> None:
    """The same rotation whether a position is said once or three times."""
    model = model_of("palm-vision")
    tokens = torch.randint(V - 3, (1, 9))
    three = torch.arange(9)[None, :, None].expand(1, 9, 3)
    torch.testing.assert_close(model(tokens, positions=three), model(tokens), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_common_space(name: str) -> None:
    model = model_of(name)
    one, film = model.embed_image(picture(0, 2)), model.embed_image(picture(0, 2, 3))
    text = model.embed_text(torch.tensor([[5, 6, 7], [5, 6, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]]))
    for found in (one, film, text):
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))
    alone = model.embed_text(torch.tensor([[5, 6]]))
    torch.testing.assert_close(text[1:], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [("gpt3-vision", {"patch": 40}), ("llava", {"shuffle": 3}), ("llava", {"size": 8, "patch": 16})],
)
def test_what_cannot_be_is_refused(name: str, words: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="E1102"):
        fresh(f"{name}-tiny", V, **words)
