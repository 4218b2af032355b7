"""A model of pictures and texts in use."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import danlu
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.matching import Matcher
from danlu.models.build import build
from danlu.models.eyes import default_processor
from danlu.models.families import FAMILIES, fresh
from danlu.recipes.starting.start import load_engine
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

TEXTS = ["a red cat", "two blue dogs in the park", "三只绿色的鸟"]


def matcher(name: str) -> Matcher:
    family = FAMILIES[name]
    tokenizer = train_tokenizer(
        iter(TEXTS * 9),
        TokenizerSettings(kind=family.tokenizer),
        family.specials,
        Voice(quiet=True),
        frame=family.frame,
    )
    words = {"end": tokenizer.special["end"]} if name == "clip" else {}
    config = fresh(f"{name}-tiny", tokenizer.vocabulary, width=32, depth=1, heads=2, length=12, **words)[1]
    return Matcher(Checkpoint(family, config, build(config).eval(), tokenizer, processor=default_processor(config)))


def pictures(count: int = 3) -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (count, 40, 50, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in noise]


@pytest.mark.parametrize("name", ["clip", "chinese-clip", "siglip", "align"])
def test_alone_or_together_is_the_same(name: str) -> None:
    """Padding changes nothing, wherever a tower looks for its text."""
    made = matcher(name)
    together = made.embed_texts(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        assert np.abs(made.embed_texts([text])[0] - row).max() < 1e-5
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    cosines = made.match(pictures(), TEXTS)
    assert cosines.shape == (3, 3)
    assert np.abs(cosines[1] - made.match(pictures()[1:2], TEXTS)[0]).max() < 1e-5


def test_long_texts_keep_their_end() -> None:
    made = matcher("clip")
    (ids,) = made.encode(["cat " * 50])
    assert len(ids) == 12
    assert ids[-1] == made.tokenizer.special["end"]
    assert made.embed_texts([]).shape == (0, made.config.width)


def test_names_are_the_nearest_class() -> None:
    made = matcher("clip")
    assert set(made.name(pictures(), ["cat", "dog"], ["a {name}", "two {name}s"])) <= {"cat", "dog"}
    one = made.classes(["cat"], ["a {name}", "the {name}"])[0]
    mean = made.embed_texts(["a cat", "the cat"]).mean(0)
    assert np.allclose(one, mean / np.linalg.norm(mean), atol=1e-5)


def test_films_are_the_mean_of_their_frames() -> None:
    model = matcher("clip").model
    frames = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        forward, backward = model.embed_image(frames), model.embed_image(frames.flip(1))
        assert torch.allclose(forward, backward, atol=1e-5)
        assert torch.allclose(model.embed_image(frames[:, :1]), model.embed_image(frames[:, 0]), atol=1e-5)


def test_loading(tmp_path: Path) -> None:
    matcher("siglip").checkpoint.save(tmp_path / "m")
    assert isinstance(danlu.load(tmp_path / "m"), Matcher)
    with pytest.raises(DanluError, match="E2213"):
        load_engine(str(tmp_path / "m"), "cpu")


def test_a_language_model_sees_nothing() -> None:
    family, config = fresh("gpt2-tiny", 50)
    with pytest.raises(DanluError, match="E2214"):
        Matcher(Checkpoint(family, config, build(config)))
