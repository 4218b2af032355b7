"""Pictures prepared exactly as the published processors do it, however odd they are."""

import io
import random
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from danlu.errors import DanluError
from danlu.vision.opening import open_picture
from danlu.vision.processor import DEFAULTS, Processor, align_processor, read_processor, write_processor

ODD = 200
SMALL = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
ALIGN = {
    "size": {"height": 38, "width": 38}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True,
    "do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False, "resample": 2,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "clip": CLIPImageProcessorPil(**SMALL),
    "chinese": ChineseCLIPImageProcessorPil(**SMALL),
    "padded": CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 32, "width": 32}),
    "siglip": SiglipImageProcessorPil(size={"height": 32, "width": 32}),
    "align": EfficientNetImageProcessorPil(**ALIGN),
    "efficientnet": EfficientNetImageProcessorPil(),
    "nearest": SiglipImageProcessorPil(size={"height": 20, "width": 33}, resample=0),
    "lanczos": CLIPImageProcessorPil(**SMALL, resample=1, do_center_crop=False),
}


def odd(number: int) -> bytes:
    """A small picture in some mode, format, shape and orientation."""
    draw, noise = random.Random(number), np.random.default_rng(number)
    shapes = [(1, 37), (300, 1), (1, 1), (640, 11), (draw.randint(2, 80), draw.randint(2, 80)), (150, 97)]
    width, height = draw.choice(shapes)
    mode = draw.choice(["RGB", "L", "RGBA", "LA", "CMYK", "P", "1", "I;16", "YCbCr"])
    if mode == "I;16":
        picture = Image.fromarray(noise.integers(0, 65536, (height, width), dtype=np.uint16))
    else:
        picture = Image.fromarray(noise.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")
        picture = picture if mode == "RGBA" else picture.convert("RGB").convert(mode)
    kind = {"CMYK": "JPEG", "YCbCr": "JPEG"}.get(mode, "PNG")
    if mode in ("RGB", "L"):
        kind = draw.choice(["JPEG", "BMP", "GIF", "WEBP", "TIFF", "PNG"])
    said: dict[str, Any] = {}
    if kind in ("JPEG", "PNG", "WEBP") and draw.random() < 0.5:
        said["exif"] = Image.Exif()
        said["exif"][0x112] = draw.randint(1, 8)
    raw = io.BytesIO()
    picture.save(raw, kind, **said)
    return raw.getvalue()


def test_odd_pictures_become_the_published_numbers() -> None:
    ours = {name: read_processor(each.to_dict()) for name, each in PUBLISHED.items()}
    for number in range(ODD):
        raw = odd(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = load_image(Image.open(io.BytesIO(raw)))
        picture = open_picture(raw)
        assert np.array_equal(np.asarray(picture), np.asarray(reference)), number
        for name, published in PUBLISHED.items():
            theirs = published(reference, return_tensors="np")["pixel_values"][0]
            mine = ours[name](picture)
            assert mine.shape == theirs.shape
            assert mine.dtype == np.float32
            assert np.abs(mine - theirs).max() * _unit(ours[name]) <= 1.0, (name, number)


def _unit(processor: Processor) -> float:
    """How many 255ths one is, after normalising."""
    std = min(processor.std) if processor.std else 1.0
    return std ** (2 if processor.again else 1) / (processor.scale if processor.mean is None else 1 / 255)


@pytest.mark.parametrize("name", PUBLISHED)
def test_settings_there_and_back(name: str) -> None:
    ours = read_processor(PUBLISHED[name].to_dict())
    assert read_processor(write_processor(ours)) == ours
    again = type(PUBLISHED[name])(**{k: v for k, v in write_processor(ours).items() if k != "image_processor_type"})
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    assert np.abs(again(picture, return_tensors="np")["pixel_values"][0] - ours(picture)).max() < 1e-4


def test_what_old_files_say() -> None:
    old = read_processor({"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224})
    assert old == DEFAULTS["CLIPImageProcessor"]
    assert read_processor({"image_processor_type": "SiglipImageProcessor", "size": 256}).size == (256, 256)
    assert read_processor({"do_resize": False, "do_center_crop": False}).shape is None
    assert align_processor(289).size == (346, 346)
    assert align_processor(64).crop is None


def test_what_is_not_known_is_refused() -> None:
    for bad in ({"image_processor_type": "PixtralImageProcessor"}, {"size": {"longest_edge": 7}}, {"resample": 9}):
        with pytest.raises(DanluError, match="E2210"):
            read_processor(bad)


def test_a_line_of_pixels_takes_no_memory() -> None:
    """60,000 pixels by one: enlarged to 224 by 13 million, it would take 9 GB."""
    line = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1, 60_000, 3), dtype=np.uint8))
    made = DEFAULTS["CLIPImageProcessor"].pixels(line)
    assert made.shape == (224, 224, 3)
    whole = DEFAULTS["CLIPImageProcessor"].pixels(line.crop((29_990, 0, 30_010, 1)))
    assert np.abs(made.astype(int) - whole.astype(int)).max() <= 1
