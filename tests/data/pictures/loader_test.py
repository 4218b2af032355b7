"""From pairs to batches: decoded once, bad ones counted, every batch a pure function of the step."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from danlu.data.builtin_pictures import films
from danlu.data.order import Chance
from danlu.data.pictures.loader import Augmentation, Captioned, Framing, PictureLoader
from danlu.data.pictures.prepare import Prepared, gather, prepare
from danlu.data.pictures.settings import PictureSettings
from danlu.data.scenes import combinations, scenes
from danlu.errors import DanluError
from danlu.vision.film import open_film
from danlu.vision.processor import clip_processor
from danlu.voice import Voice

QUIET = Voice(quiet=True)


def encode(texts: object) -> list[list[int]]:
    return [[0, *(2 + ord(letter) % 50 for letter in text), 1] for text in texts]  # type: ignore[attr-defined]


def prepared(place: Path, cache: Path, **changes: object) -> Prepared:
    settings = PictureSettings(paths=(str(place),), cache=cache, **changes)  # type: ignore[arg-type]
    return prepare(gather(settings, QUIET), settings, clip_processor(16), encode, QUIET)


def some(place: Path, count: int = 40) -> Path:
    place.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02d}.png")
        (place / f"{number:02d}.txt").write_text(f"picture {number}")
    return place


def test_bad_pictures_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    place = some(tmp_path / "d")
    (place / "03.png").write_bytes(b"no picture")
    (place / "05.png").write_bytes((place / "05.png").read_bytes()[:200])
    Image.new("RGB", (300, 300)).save(place / "07.png")
    found = prepared(place, tmp_path / "cache", pixels=80_000, broken=1.0)
    assert found.ledger.dropped == {"not a picture": 1, "damaged picture": 1, "too many pixels": 1}
    assert found.validation
    assert len(found.training.pairs) + len(found.validation.pairs) == 37
    assert found.ledger.read == 40
    again = prepared(place, tmp_path / "cache", pixels=80_000, broken=1.0)
    assert again.ledger == found.ledger
    assert np.array_equal(again.training.data.pixels, found.training.data.pixels)


def test_what_changes_is_decoded_again(tmp_path: Path) -> None:
    place = some(tmp_path / "d")
    before = np.array(prepared(place, tmp_path / "cache").training.data.pixels)
    Image.new("RGB", (20, 24), (1, 2, 3)).save(place / "00.png")
    after = np.array(prepared(place, tmp_path / "cache").training.data.pixels)
    assert (after[0] == (1, 2, 3)).all()
    assert not np.array_equal(before[0], after[0])
    assert np.array_equal(before[1:], after[1:])


def test_none_that_can_be_read(tmp_path: Path) -> None:
    place = some(tmp_path / "d", 3)
    for path in place.glob("*.png"):
        path.write_bytes(b"x")
    with pytest.raises(DanluError, match="E2207"):
        prepared(place, tmp_path / "cache")


def test_equal_pictures_and_captions_stay_on_one_side(tmp_path: Path) -> None:
    place = some(tmp_path / "d")
    for number in range(40, 60):
        (place / f"{number}.png").write_bytes((place / f"{number - 40:02d}.png").read_bytes())
        (place / f"{number}.txt").write_text(f"picture {number - 40}")
    found = prepared(place, tmp_path / "cache", held_out=0.3)
    assert found.validation
    sides = [{side.caption(at) for at in range(len(side.pairs))} for side in (found.training, found.validation)]
    assert not sides[0] & sides[1]
    assert len(found.validation.pairs) > 3


def test_several_captions_of_one_picture(tmp_path: Path) -> None:
    place = some(tmp_path / "d")
    rows = [f'{{"image": "{n:02d}.png", "text": "{word} {n}"}}' for n in range(40) for word in ("a", "b", "c")]
    (place / "captions.jsonl").write_text("\n".join(rows))
    found = prepared(place, tmp_path / "cache", held_out=0.0)
    assert len(found.training.pairs) == found.ledger.read == 40
    assert len(found.training.captions) == 120
    data = found.training.data
    loader = PictureLoader(data, clip_processor(16), Framing(1, 20), 10, seed=0)
    drawn = {int(each) for step in range(8) for each in loader.batch(step).targets["alike"]}
    assert len(drawn) > 50  # more than the first caption of each


def captioned(count: int = 12) -> Captioned:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return Captioned(
        pixels, np.arange(count), [[n] for n in range(count)], [[0] * (3 + n % 4) + [1] for n in range(count)]
    )


def test_batches_are_a_function_of_the_step() -> None:
    def loader(**changes: object) -> PictureLoader:
        words = {"augmentation": Augmentation(0.5, True)} | changes
        return PictureLoader(captioned(), clip_processor(8), Framing(1, 16), 5, 7, **words)  # type: ignore[arg-type]

    wanted = loader().batch(9)
    for step in (0, 3):
        loader().batch(step)
    assert torch.equal(loader().batch(9).inputs["images"], wanted.inputs["images"])
    streamed = loader().stream(9)
    assert torch.equal(next(streamed).inputs["images"], wanted.inputs["images"])
    streamed.close()
    mine = [loader().sliced(rank, 2).batch(9) for rank in range(2)]
    assert torch.equal(torch.cat([part.targets["alike"] for part in mine]), wanted.targets["alike"])
    assert torch.equal(torch.cat([part.inputs["images"] for part in mine]), wanted.inputs["images"])
    plain = loader(augmentation=None).batch(9)
    assert not torch.equal(plain.inputs["images"], wanted.inputs["images"])


def test_an_epoch_sees_every_picture_once() -> None:
    loader = PictureLoader(captioned(), clip_processor(8), Framing(1, 16), 4, 0)
    seen = [int(each) for step in range(3) for each in loader.batch(step).targets["alike"]]
    assert sorted(seen) == list(range(12))
    still = PictureLoader(captioned(), clip_processor(8), Framing(1, 16), 5, 0, shuffle=False)
    assert [still.batch(step).rows for step in range(3)] == [5, 5, 2]


def test_flips_and_crops_do_what_they_say() -> None:
    pixels = captioned().pixels
    chance = np.zeros((12, 5))
    assert np.array_equal(Augmentation(1.0, True)(pixels, chance), pixels[:, :, ::-1])
    chance[:, 4] = 0.9
    assert np.array_equal(Augmentation(1.0, True)(pixels, chance), pixels)
    chance = Chance(0, np.zeros(12, np.int64), np.arange(12)).draw(5, 1)
    cropped = Augmentation(0.3)(pixels, chance)
    assert cropped.shape == pixels.shape
    assert not np.array_equal(cropped, pixels)
    flat = np.full((2, 8, 8, 3), 77, np.uint8)
    assert (Augmentation(0.3)(flat, chance[:2]) == 77).all()


def test_captions_are_framed_for_their_tower() -> None:
    texts = [[0, 5, 1], [0, 5, 6, 1]]
    assert Framing(1, 9).rows(texts)["tokens"].tolist() == [[0, 5, 1, 1], [0, 5, 6, 1]]
    marked = Framing(9, 9, marked=True).rows(texts)
    assert marked["valid"].tolist() == [[True, True, True, False], [True] * 4]
    assert "valid" not in Framing(9, 9, marked=True).rows(texts[:1])
    assert Framing(9, 6, whole=True).rows(texts)["tokens"].shape == (2, 6)


def test_films(tmp_path: Path) -> None:
    place = tmp_path / "d"
    place.mkdir()
    for number in range(5):
        frames = [Image.new("RGB", (16, 16), (25 * at, 30 * number, 0)) for at in range(6 if number else 1)]
        frames[0].save(place / f"{number}.gif", "GIF", save_all=True, append_images=frames[1:])
        (place / f"{number}.txt").write_text(f"film {number}")
    found = prepared(place, tmp_path / "cache", frames=4, held_out=0.0, broken=1.0)
    assert found.training.data.pixels.shape == (4, 4, 16, 16, 3)
    assert found.ledger.dropped == {"one frame": 1}


def test_a_moving_digit_tells_its_way_only_by_moving() -> None:
    """No frame may say by itself which one it is."""
    row = next(films())
    frames = [np.asarray(each).astype(int) for each in open_film(row["image"], 8)]
    assert all(frame.min() == 0 for frame in frames)
    assert len({int(frame.sum()) for frame in frames}) == 1
    assert not np.array_equal(frames[0], frames[-1])
    assert row["direction"] in row["en"]


def test_scenes_hold_combinations_back() -> None:
    known, unseen = combinations(held_out=False), combinations(held_out=True)
    assert not set(known) & set(unseen)
    assert len(unseen) >= 500
    facts = [set(column) for column in zip(*known, strict=True)]
    assert [set(column) for column in zip(*unseen, strict=True)] == facts  # every fact is met in training
    first = list(scenes(3))
    assert [np.asarray(a[1]).tobytes() for a in first] == [np.asarray(b[1]).tobytes() for b in scenes(3)]
    assert first[0][1].size == (64, 64)
    raw = io.BytesIO()
    first[0][1].save(raw, "PNG")
    assert all("\u4e00" <= letter <= "\u9fff" for letter in first[0][0].zh)
