"""What is told of pictures before anything is trained on them: `data check`, `estimate`."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from danlu.errors import DanluError
from danlu.recipes.estimating.estimate import estimate
from danlu.recipes.preparing.data import data
from danlu.recipes.runs.call import Call

TINY = {"model": {"width": 32, "depth": 1, "heads": 2}}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures with captions; one is none, one is gone, one nobody speaks of."""
    place = tmp_path / "seen"
    place.mkdir()
    rows = []
    for number in range(12):
        Image.new("RGB", (40 + number, 30), (number, 0, 0)).save(place / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": f"picture {number}"})
    (place / "3.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(place / "silent.png")
    rows.append({"image": "gone.png", "caption": "gone"})
    (place / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    return place


def test_checking_pictures(pictures: Path, make: Callable[..., Call]) -> None:
    answer = data(make("check", pictures))
    assert answer.metrics["pictures"] == 12
    assert answer.metrics["captions"] == 12
    assert answer.metrics["dropped"] == {"no picture": 1, "no caption": 1, "not a picture": 1}
    assert answer.passed


def test_checking_text_is_as_before(tmp_path: Path, make: Callable[..., Call]) -> None:
    (tmp_path / "text.txt").write_text("One line.\n\nAnother.\n", encoding="utf8")
    (tmp_path / "rows.csv").write_text("path,text\na.py,some words\n", encoding="utf8")
    assert data(make("check", tmp_path / "text.txt")).metrics["documents"] >= 1
    assert data(make("check", tmp_path / "rows.csv")).metrics["documents"] == 1


def test_a_truncated_tar_and_a_huge_picture(pictures: Path, tmp_path: Path, make: Callable[..., Call]) -> None:
    """What is left of the tar is used; a picture of 60,000 × 60,000 pixels is never decoded."""
    huge = Image.new("1", (60_000, 8))
    huge.save(tmp_path / "huge.png")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number in range(12):
            tar.add(pictures / f"{number}.png", f"{number}.png")
            (tmp_path / "one.txt").write_text(f"picture {number}")
            tar.add(tmp_path / "one.txt", f"{number}.txt")
    whole = (tmp_path / "all.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) * 2 // 3])
    found = data(make("check", tmp_path / "cut.tar")).metrics
    assert 2 < found["pictures"] < 12
    assert found["dropped"]["cut off"] == 1
    folder = tmp_path / "large"
    folder.mkdir()
    (tmp_path / "huge.png").rename(folder / "huge.png")
    (folder / "huge.txt").write_text("huge")
    assert data(make("check", folder, data={"pixels": 100_000})).metrics["dropped"] == {"too many pixels": 1}


@pytest.mark.parametrize("start", ["clip-tiny", "align-tiny", "palm-vision-tiny", "llava-tiny"])
def test_estimates(start: str, pictures: Path, make: Callable[..., Call]) -> None:
    asked = {"calibrate": 0.05, "train": {"steps": 10, "batch": 4}, **({} if start == "align-tiny" else TINY)}
    found = estimate(make(start, pictures, **asked)).metrics
    assert found["steps"] == 10
    assert found["weights"] == found["gradients"] == 4 * found["parameters"]
    assert found["memory"] > found["weights"] + found["activations"] > 0
    assert 0 < found["seconds"] < 100
    larger = estimate(make(start, pictures, **asked | {"train": {"steps": 10, "batch": 8}})).metrics
    assert larger["activations"] > 1.5 * found["activations"]


def test_other_machines_are_refused(pictures: Path, make: Callable[..., Call]) -> None:
    with pytest.raises(DanluError, match="E2219"):
        estimate(make("clip-tiny", pictures, on="h100"))
